"""`ExcelTenantProvider`: tenants from a sheet of an Excel workbook."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import date, datetime, time
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from typing_extensions import override

from ...errors import DbgearError, RegistryRecordError, SettingsError, UnsupportedError
from ...settings.mapping import FieldMapping
from ..records import Record
from .merged import MergedCells
from .provider import FileTenantProvider
from .storage import FileLocation
from .table import PLAIN, BadCell, Cell, table_records

LIMIT_BYTES = 64 * 2**20
LIMIT_UNPACKED_BYTES = 256 * 2**20
MAX_ROWS = 2**20  # Excel's own
MAX_CELLS = 20_000_000  # the empty ones before the last of a row included

_ERROR = "the cell holds an error"
_XLSX = "an Excel workbook, .xlsx"
_OLD_OR_ENCRYPTED = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PART = "EncryptedPackage".encode("utf-16-le")
_EXACT = 2**53  # above it, floats are no longer exact
_FORMULA = re.compile(rb"<(?:\w+:)?f[\s/>]")
_CHUNK_BYTES = 2**20
_OVERLAP_BYTES = 256  # no element that is looked for is longer


class ExcelTenantProvider(FileTenantProvider):
    """Tenants from a sheet of an Excel workbook (.xlsx, .xlsm), one a row, below a header.

    excel_path: the file: a path, a URL of object storage, or a path object of it. Needs the extra `excel`.
    sheet: None means the first. header_row counts from 1; rows above it are not read.
    config_dir, watch_changes, mapping: as of `CSVTenantProvider`.

    Cells hold what they would in a CSV file: numbers are written without ".0", TRUE and FALSE so, dates as ISO 8601
    and in UTC; a formula is its value when the workbook was saved, and a bad cell where it never was calculated. A
    cell that is merged over several rows stands in each of them. Hidden rows and columns are read like others.
    Refused as a whole: workbooks with a password, of the old format .xls, of over 64 MiB, of over 256 MiB unpacked,
    and sheets of over 20,000,000 cells.
    """

    def __init__(
        self,
        excel_path: FileLocation,
        sheet: str | None = None,
        header_row: int = 1,
        config_dir: str | Path | None = None,
        watch_changes: bool = True,
        *,
        mapping: FieldMapping = PLAIN,
    ) -> None:
        super().__init__(excel_path, config_dir, watch_changes, mapping, LIMIT_BYTES)
        if header_row < 1:
            raise SettingsError("no such row", where="header_row", received=header_row, allowed="1 or more")
        self.excel_path = self.file.location
        self.sheet = sheet
        self.header_row = header_row

    @override
    def _parse(self, content: bytes, fields: Collection[str] | None) -> Iterator[Record | RegistryRecordError]:
        with ExitStack() as stack:
            sheet = Sheet.open(content, self.source, self.sheet, stack)
            yield from table_records(
                sheet.rows(self.header_row), source=sheet.name, mapping=self.mapping, fields=fields
            )


@dataclass(frozen=True)
class Sheet:
    """A sheet of a workbook, which is read row by row.

    formulas: the same sheet, but with its formulas; None where it has none.
    """

    name: str
    cells: Any
    formulas: Any
    merged: MergedCells

    @classmethod
    def open(cls, content: bytes, source: str, title: str | None, stack: ExitStack) -> Sheet:
        """Open a sheet, by None the first one, until the stack is closed. Raises RegistryRecordError."""
        try:
            return cls._open(content, source, title, stack)
        except DbgearError:
            raise
        except Exception as error:  # openpyxl and zipfile have no class for what they cannot read
            raise _unreadable(source, error) from error

    @classmethod
    def _open(cls, content: bytes, source: str, title: str | None, stack: ExitStack) -> Sheet:
        try:
            import openpyxl  # noqa: PLC0415  an extra, and slow to import
        except ImportError:
            raise UnsupportedError(
                f"{source}: reading Excel needs openpyxl: pip install 'airflow-provider-dbgear[excel]'"
            ) from None
        # What openpyxl does not know, such as validation lists, is no concern of ours. Filters of warnings are the
        # process's: this one is set for good, as other threads may be setting theirs.
        warnings.filterwarnings("ignore", module=r"openpyxl\.")
        archive = stack.enter_context(_archive(content, source))

        def sheet(data_only: bool) -> Any:
            book = openpyxl.load_workbook(BytesIO(content), read_only=True, data_only=data_only, keep_links=False)
            stack.enter_context(closing(book))
            titles = [sheet.title for sheet in book.worksheets]
            if not titles or (title is not None and title not in titles):
                raise RegistryRecordError("no such sheet", where=source, received=title, allowed=titles)
            found: Any = book.worksheets[0 if title is None else titles.index(title)]
            found.reset_dimensions()  # they may be a lie, and would pad each row
            return found

        cells = sheet(data_only=True)
        has_formulas, merged = False, MergedCells()
        for part in _chunks(archive, cells._worksheet_path):
            has_formulas = has_formulas or _FORMULA.search(part) is not None
            merged.find(part)
        return cls(f"{source}, sheet {cells.title}", cells, sheet(data_only=False) if has_formulas else None, merged)

    def rows(self, first: int, value: Callable[[Any], Any] | None = None) -> Iterator[tuple[int, list[Any]]]:
        """Yield the rows from that number on: their cells, "" where they are empty, or `BadCell`.

        value: what a cell holds; None means as in a CSV file. Raises RegistryRecordError where the sheet cannot be
        read to its end.
        """
        value = value or _text
        count = 0
        rows = self._raw_rows(first)
        for number in range(first, MAX_ROWS + 1):
            try:
                row = next(rows, None)
            except Exception as error:
                raise _unreadable(f"{self.name}, row {number}", error) from error
            if row is None:
                return
            cells, formulas = row
            count += len(cells)
            if count > MAX_CELLS:
                break
            values: list[Any] = [value(cell) for cell in cells]
            for place, formula in enumerate(formulas):
                # A formula whose value is the empty text has the type "str".
                if formula.data_type == "f" and cells[place].value is None and cells[place].data_type != "str":
                    values[place] = BadCell("the formula was never calculated: open the workbook in Excel and save it")
            yield number, self.merged.spread(number, values)
        else:
            if next(rows, None) is None:
                return
        raise RegistryRecordError(
            "the sheet is too large", where=self.name, allowed=f"{MAX_ROWS} rows, {MAX_CELLS} cells"
        )

    def _raw_rows(self, first: int) -> Iterator[tuple[Any, Any]]:
        cells = self.cells.iter_rows(min_row=first)
        if self.formulas is None:
            return ((row, ()) for row in cells)
        return zip(cells, self.formulas.iter_rows(min_row=first), strict=True)


def _archive(content: bytes, source: str) -> ZipFile:
    if content.startswith(_OLD_OR_ENCRYPTED):
        if _ENCRYPTED_PART in content:
            raise RegistryRecordError("the workbook has a password", where=source, allowed=f"{_XLSX}, without")
        raise RegistryRecordError("a workbook of the old format .xls", where=source, allowed=_XLSX)
    archive = ZipFile(BytesIO(content))
    # No more than an entry tells is ever unpacked of it.
    if (unpacked_bytes := sum(entry.file_size for entry in archive.infolist())) > LIMIT_UNPACKED_BYTES:
        raise RegistryRecordError(
            "the workbook is too large",
            where=source,
            received=f"{unpacked_bytes} bytes unpacked",
            allowed=f"{LIMIT_UNPACKED_BYTES} bytes",
        )
    return archive


def _chunks(archive: ZipFile, part: str) -> Iterator[bytes]:
    with archive.open(part) as file:
        before = b""
        while chunk := file.read(_CHUNK_BYTES):
            yield before + chunk
            before = chunk[-_OVERLAP_BYTES:]


def _unreadable(where: str, error: Exception) -> RegistryRecordError:
    return RegistryRecordError(f"no workbook that can be read: {type(error).__name__}", where=where, allowed=_XLSX)


def typed(cell: Any) -> Any:
    """Return a cell's value with its type, or a `BadCell`."""
    match cell.value:
        case None:
            return ""
        case str(value) if cell.data_type == "e":
            return BadCell(_ERROR, value)
        case float(value) if value.is_integer() and abs(value) < _EXACT:
            return int(value)
        case value:
            return value


def _text(cell: Any) -> Cell:
    match cell.value:
        case None:
            return ""
        case str(value):
            return BadCell(_ERROR, value) if cell.data_type == "e" else value
        case bool(value):
            return "TRUE" if value else "FALSE"
        case float(value) if value.is_integer() and abs(value) < _EXACT:
            return str(int(value))
        case datetime() | date() | time() as value:
            return value.isoformat()
        case value:
            return str(value)
