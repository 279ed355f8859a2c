"""`CSVTenantProvider`: tenants from a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path

from typing_extensions import override

from ...errors import RegistryRecordError
from ...settings.mapping import FieldMapping
from ..records import Record
from .provider import FileTenantProvider
from .storage import FileLocation
from .table import PLAIN, Row, table_records

LIMIT_BYTES = 256 * 2**20


class CSVTenantProvider(FileTenantProvider):
    """Tenants from a CSV file, one a row, below a header of `TenantInfo`'s field names.

    csv_path: the file: a path, a URL of object storage, or a path object of it. UTF-8, with or without the byte order
    mark that Excel writes; commas; quotes as in RFC 4180. See `table_records` for columns and rows, and `parse_record`
    for what cells hold. Files of over 256 MiB are refused.
    config_dir: a folder with the settings of single tenants, see `read_tenant_config`; None: there are none.
    watch_changes: read the file again when it has changed; False: read it once. Writers should replace the
    file by a rename: a file that is written in place may be seen half-written.
    mapping: the column of each field where it has another name, and what stands in for columns and words.

    A row is numbered by the line on which it starts, the header being row 1: as a spreadsheet does, unless
    cells above it hold line breaks. A row that cannot be read as CSV is rejected; where it goes on over
    several lines, its end and all below it are doubtful, and RegistryRecordError is raised for the file.
    """

    def __init__(
        self,
        csv_path: FileLocation,
        config_dir: str | Path | None = None,
        watch_changes: bool = True,
        *,
        mapping: FieldMapping = PLAIN,
    ) -> None:
        super().__init__(csv_path, config_dir, watch_changes, mapping, LIMIT_BYTES)
        self.csv_path = self.file.location

    @override
    def _parse(self, content: bytes, fields: Collection[str] | None) -> Iterator[Record | RegistryRecordError]:
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise RegistryRecordError(
                "no UTF-8", where=f"{self.source}, byte {error.start}", received=content[error.start : error.end]
            ) from None
        rows = _rows(text.removeprefix("\ufeff"), self.source)
        return table_records(rows, source=self.source, mapping=self.mapping, fields=fields)


def _rows(text: str, source: str) -> Iterator[Row | RegistryRecordError]:
    # Strict: otherwise a quote that is never closed would silently swallow all tenants below it.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            broken = RegistryRecordError(f"no CSV: {error}", where=f"{source}, row {number}")
            if reader.line_num > number:
                raise broken from None
            yield broken
        else:
            yield number, cells
