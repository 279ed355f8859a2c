"""`CSVTenantProvider`: tenants from a CSV file."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiofiles
import aiofiles.os

from ..errors import RegistryRecordError, SourceUnavailableError, TenantNotFoundError
from ..tenants import TenantInfo, TenantQuery
from .base import Filters, TenantRegistryProvider
from .configs import read_tenant_config
from .table import Row, TenantTable, read_table

_READ_ATTEMPTS = 3

_Version = tuple[int, int, int]


class CSVTenantProvider(TenantRegistryProvider):
    """Tenants from a CSV file, one a row, below a header of `TenantInfo`'s field names.

    csv_path: the file. UTF-8, with or without the byte order mark that Excel writes; commas; quotes as in
    RFC 4180. See `read_table` for columns and rows, and `parse_record` for what cells hold.
    config_dir: a folder with the settings of single tenants, see `read_tenant_config`; None: there are none.
    watch_changes: read the file again when it has changed; False: read it once. Writers should replace the
    file by a rename: a file that is written in place may be seen half-written.

    A row is numbered by the line on which it starts, the header being row 1: as a spreadsheet does, unless
    cells above it hold line breaks. A row that cannot be read as CSV is rejected; where it goes on over
    several lines, its end and all below it are doubtful, and RegistryRecordError is raised for the file.
    """

    def __init__(self, csv_path: str | Path, config_dir: str | Path | None = None, watch_changes: bool = True) -> None:
        self.csv_path = Path(csv_path)
        self.config_dir = None if config_dir is None else Path(config_dir)
        self.watch_changes = watch_changes
        self._lock = asyncio.Lock()
        self._table: TenantTable | None = None
        self._version: _Version | None = None

    async def list_tenants(
        self, filters: Filters | None = None, offset: int = 0, limit: int | None = 100
    ) -> list[TenantInfo]:
        """Return the tenants that match, ordered by tenant_id."""
        end = None if limit is None else offset + limit
        return (await self._matching(TenantQuery.from_filters(filters)))[offset:end]

    async def get_tenant(self, tenant_id: str) -> TenantInfo:
        """Return one tenant. Raises TenantNotFoundError."""
        try:
            return (await self._read()).tenants[tenant_id]
        except KeyError:
            raise TenantNotFoundError(f"{self.csv_path}: no tenant {tenant_id!r}", tenant_id=tenant_id) from None

    async def get_tenant_config(self, tenant_id: str) -> dict[str, Any]:
        """Return the tenant's own settings, {} where it has none. Raises TenantNotFoundError."""
        await self.get_tenant(tenant_id)
        return await read_tenant_config(self.config_dir, tenant_id) if self.config_dir else {}

    async def search_tenants(self, query: str) -> list[TenantInfo]:
        """Return all tenants that match a query of the `TenantQuery` language, ordered by tenant_id."""
        return await self._matching(TenantQuery.parse(query))

    async def get_tenant_count(self, filters: Filters | None = None) -> int:
        """Return how many tenants `list_tenants` would give without paging."""
        return len(await self._matching(TenantQuery.from_filters(filters)))

    async def rejected_records(self) -> list[RegistryRecordError]:
        """Return the rows that are no valid tenant, in the order of the file."""
        return list((await self._read()).rejected)

    async def _matching(self, query: TenantQuery) -> list[TenantInfo]:
        return [tenant for tenant in (await self._read()).tenants.values() if query.matches(tenant)]

    async def _read(self) -> TenantTable:
        async with self._lock:
            try:
                if self._table is None or (self.watch_changes and self._version != await self._stat()):
                    content, version = await self._content()
                    self._table = await asyncio.to_thread(_parse, content, str(self.csv_path))
                    self._version = version
            except OSError as error:
                raise SourceUnavailableError(f"{self.csv_path}: {error.strerror}") from error
            return self._table

    async def _content(self) -> tuple[bytes, _Version]:
        """Return the file's bytes and the version of which they are."""
        for _ in range(_READ_ATTEMPTS):
            version = await self._stat()
            async with aiofiles.open(self.csv_path, "rb") as file:
                content = await file.read()
            if version == await self._stat():
                return content, version
        raise SourceUnavailableError(f"{self.csv_path}: changed whenever it was read, {_READ_ATTEMPTS} times")

    async def _stat(self) -> _Version:
        stat = await aiofiles.os.stat(self.csv_path)
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _parse(content: bytes, source: str) -> TenantTable:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise RegistryRecordError(
            "no UTF-8", where=f"{source}, byte {error.start}", received=content[error.start : error.end]
        ) from None
    return read_table(_rows(text.removeprefix("\ufeff"), source), source=source)


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
