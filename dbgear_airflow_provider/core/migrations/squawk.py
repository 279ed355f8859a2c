"""squawk, the linter for PostgreSQL, as a program of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess  # nosec
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UnsupportedError

SYNTAX_ERROR = "syntax-error"
_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class Found:
    """What squawk has found. number: of the statement. line: within it, counted from 0."""

    number: int
    line: int
    rule: str
    text: str


def squawk(statements: Sequence[str], *, transaction: bool, version: str | None = None) -> Iterator[Found]:
    """Yield what squawk finds in the statements of one script. transaction: they are run in one.

    version: of the server, such as "16.2". A statement that squawk cannot parse is a finding of SYNTAX_ERROR, and the
    others are looked at all the same. Raises UnsupportedError where there is no squawk.
    """
    left = dict(enumerate(statements))
    while left:
        found = list(_run(left, transaction=transaction, version=version))
        broken = next((item for item in found if item.rule == SYNTAX_ERROR), None)
        if broken is None:
            yield from found
            return
        # With one of these it looks at nothing else, and what it says of those behind it is not to be relied on.
        yield broken
        del left[broken.number]


def _run(statements: dict[int, str], *, transaction: bool, version: str | None) -> Iterator[Found]:
    # Each begins a line, so that the line tells which it is.
    starts, line = list[tuple[int, int]](), 0
    for number, text in statements.items():
        starts.append((line, number))
        line += text.count("\n") + 2
    # Rules are overridden by dbgear:allow alone.
    script = "".join(f"{text}\n;\n" for text in statements.values()).replace("squawk-ignore", "squawk_ignore")
    # Without settings of its own, which would be those of whatever folder it runs in.
    options = ["--config", os.devnull, "--reporter", "json", "--stdin-filepath", "script.sql"]
    options.append("--assume-in-transaction" if transaction else "--no-assume-in-transaction")
    options += ["--pg-version", version] if version else []
    for item in _report(options, script):
        start, number = next(entry for entry in reversed(starts) if entry[0] <= item["line"])
        text = " ".join(filter(None, [item["message"], item.get("help")]))
        yield Found(number=number, line=item["line"] - start, rule=item["rule_name"], text=text)


def _report(options: Sequence[str], script: str) -> list[dict[str, Any]]:
    # 1 where something was found.
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and the script goes in by stdin
            [_program(), *options],
            input=script.encode(),
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnsupportedError(f"squawk does not run: {type(error).__name__}") from None
    try:
        report: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        told = done.stderr.decode(errors="replace").strip()
        raise UnsupportedError(f"squawk gave no report: {told or done.returncode}") from None
    return report


def _program() -> str:
    scripts = sysconfig.get_path("scripts")
    found = shutil.which("squawk", path=scripts) or shutil.which("squawk")
    if found is None:
        raise UnsupportedError(
            "lint of scripts for PostgreSQL needs squawk: pip install 'airflow-provider-dbgear[lint]', or lint off"
        )
    return found
