"""Rows of a sheet of an Excel workbook, for `data_type: xlsx`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..errors import DataError, RegistryRecordError, SourceUnavailableError
from ..registries.files.excel import LIMIT_BYTES, Sheet, typed
from ..registries.files.storage import SourceFile
from ..registries.files.table import BadCell

WORKBOOKS = {".xlsx", ".xlsm"}
_NULL = "NULL"


def sheet_rows(path: Path, title: str, *, header_row: int, start_row: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (where, {column: value}) of each row that is not empty; an empty cell is no value, `NULL` is None.

    The header names the columns; `column.key` puts a value into a mapping. Blocks on the disk. Raises DataError that
    names sheet, row and column, and UnsupportedError where openpyxl is not there.
    """
    if start_row <= header_row:
        allowed = f"a row behind the header's, {header_row}"
        raise DataError("no such first row", where=f"{path.name}, start_row", received=start_row, allowed=allowed)
    try:
        yield from _rows(path, title, header_row, start_row)
    except RegistryRecordError as error:
        told = {name: error.details[name] for name in ("where", "received", "allowed")}
        raise DataError(error.details["problem"], **told) from None
    except SourceUnavailableError as error:
        raise DataError(f"cannot be read: {error}", where=path.name, allowed="a workbook") from error


def _rows(path: Path, title: str, header_row: int, start_row: int) -> Iterator[tuple[str, dict[str, Any]]]:
    with ExitStack() as stack:
        content, _ = SourceFile(path, LIMIT_BYTES).read()
        sheet = Sheet.open(content, path.name, title, stack)
        header: list[tuple[str, ...]] = []
        for number, cells in sheet.rows(header_row, typed):
            where = f"{sheet.name}, row {number}"
            if number == header_row:
                header = list(_header(cells, where))
            elif number >= start_row and any(cell != "" for cell in cells):
                yield where, _values(cells, header, where)
        if not any(header):
            raise DataError("no header", where=sheet.name, allowed=f"names of columns in row {header_row}")


def _header(cells: Sequence[Any], where: str) -> Iterator[tuple[str, ...]]:
    """Yield the names of each column: its own, and those of keys within it; none where the cell is empty."""
    seen = set()
    for cell in cells:
        if isinstance(cell, BadCell):
            raise DataError(cell.problem, where=where, received=cell.received, allowed="a column's name")
        name = str(cell).strip()
        if name in seen:
            raise DataError("two columns of one name", where=where, received=name, allowed="each name once")
        if name:
            seen.add(name)
        yield tuple(name.split(".")) if name else ()


def _values(cells: Sequence[Any], header: Sequence[tuple[str, ...]], where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for place, cell in enumerate(cells):
        if cell == "":
            continue
        names = header[place] if place < len(header) else ()
        at = f"{where}, column {'.'.join(names) or place + 1}"
        if isinstance(cell, BadCell):
            raise DataError(cell.problem, where=at, received=cell.received, allowed="a value")
        if not names:
            raise DataError("a cell below no column's name", where=at, received=str(cell), allowed="a named column")
        *outer, last = names
        inner = values
        for name in outer:
            inner = inner.setdefault(name, {})
            if not isinstance(inner, dict):
                raise DataError("a value and keys within it", where=at, received=name, allowed="one of the two")
        if isinstance(inner.get(last), dict):
            raise DataError("a value and keys within it", where=at, received=last, allowed="one of the two")
        inner[last] = None if cell == _NULL else cell
    return values
