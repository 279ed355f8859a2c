"""A person at the terminal: answers, and keys."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

from .output import tell


def is_there() -> bool:
    """Tell whether somebody can be asked."""
    return sys.stdin.isatty()


async def confirm(question: str) -> bool:
    """Ask, and return whether the answer is yes. Can be cancelled."""
    tell(f"{question} [y/N]")
    await _readable()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


async def pressed(key: str) -> None:
    """Return when a key is pressed, or the terminal has gone. Within `single_keys`. Can be cancelled."""
    while True:
        await _readable()
        if os.read(sys.stdin.fileno(), 1) in (key.encode(), b""):
            return


@contextmanager
def single_keys() -> Iterator[None]:
    """Read keys as they are pressed, without showing them; Ctrl-C still interrupts."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


async def _readable() -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sys.stdin, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sys.stdin)
