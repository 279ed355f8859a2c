"""Process sessions: all that a process started, whatever process groups it made of it."""

from __future__ import annotations

import os
import time

import psutil

_KILL_TIMEOUT_S = 10.0


def members(session: int) -> list[psutil.Process]:
    """Return the processes of a session that are alive; zombies are not."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (OSError, psutil.Error):
            continue  # it ended while we looked
    return found


def kill(session: int) -> None:
    """Kill a session's processes until none is left. Raises TimeoutError where that takes over 10 s."""
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while processes := members(session):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {[process.pid for process in processes]} do not die")
        for process in processes:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.02)


def is_marked(session: int, name: str, value: str) -> bool:
    """Tell whether a process of the session has the environment variable.

    A session's number may be another's by now; the variable says whose it is. Processes that hide their
    environment from us are passed over.
    """
    for process in members(session):
        try:
            if process.environ().get(name) == value:
                return True
        except psutil.Error:
            continue
    return False
