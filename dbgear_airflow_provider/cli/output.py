"""What commands print: data on stdout in the format that was asked for, words and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from airflow.cli.simple_table import AirflowConsole
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..core.automation import OperationResult, OperationStatus
from ..core.errors import RegistryRecordError, RolloutStoppedError, SettingsError

Row = Mapping[str, Any]
_TOLD = 20  # bad records that are named
_FOR_PEOPLE = {"table", "plain"}


def tell(text: str) -> None:
    """Print a line for a person, on stderr."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def tell_rejected(rejected: Sequence[RegistryRecordError]) -> None:
    """Tell which records of the registry are no tenants."""
    for error in rejected[:_TOLD]:
        tell(f"left out: {error}")
    if len(rejected) > _TOLD:
        tell(f"left out: {len(rejected) - _TOLD} more records")


def print_rows(rows: Sequence[Row], output: str) -> None:
    """Print rows, each with the same keys, in a format of Airflow's option `--output`."""
    if output in _FOR_PEOPLE:
        if rows:
            AirflowConsole().print_as([_cells(row, output) for row in rows], output)
    else:
        print_data(list(rows), output)


def print_tables(tables: Mapping[str, Sequence[Row]], document: Any, output: str) -> None:
    """Print titled tables for people, or the document that says the same for programs."""
    if output not in _FOR_PEOPLE:
        print_data(document, output)
        return
    for title, rows in tables.items():
        sys.stdout.write(f"{title}\n")
        if rows:
            print_rows(rows, output)
        else:
            sys.stdout.write("nothing yet\n\n")


def print_data(data: Any, output: str) -> None:
    """Print data for programs: as JSON or as YAML, not by `print_as`, which makes texts of numbers and flags."""
    if output == "json":
        sys.stdout.write(f"{as_json(data)}\n")
    else:
        sys.stdout.write(yaml.safe_dump(data, allow_unicode=True, sort_keys=False))


def _cells(row: Row, output: str) -> dict[str, str]:
    """Return what a line of a table shows: one line of text a cell, in which rich finds no markup."""
    texts = {name: " ".join(_text(value).split()) for name, value in row.items()}
    return {name: escape(text) for name, text in texts.items()} if output == "table" else texts


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def write_report(path: str | None, text: Callable[[], str]) -> None:
    """Write a report where one is asked for. Raises SettingsError where that is not possible."""
    if path is None:
        return
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot be written: {error.strerror}", where="--report", received=path) from None
    tell(f"report: {file}")


def as_json(document: Any) -> str:
    """Return the text of a JSON report."""
    return json.dumps(document, ensure_ascii=False, indent=1)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[OperationResult], None]]:
    """Show a bar on a terminal while the block runs; give what is to be told of each result."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, failed=0)
        failed = 0

        def done(result: OperationResult) -> None:
            nonlocal failed
            if (result.details or {}).get("error_kind") == RolloutStoppedError.__name__:
                return  # it was not begun
            failed += result.status is OperationStatus.ERROR
            bar.update(task, advance=1, failed=failed)

        yield done
