"""`FileTenantProvider`: a file of tenants, which is read as a whole."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncGenerator, Collection, Iterator
from pathlib import Path
from typing import Any

from typing_extensions import override

from ...errors import RegistryRecordError, TenantNotFoundError
from ...settings.mapping import FieldMapping
from ...tenants import TenantInfo, TenantQuery
from ..checked import TenantTable, read_table
from ..records import Record
from ..streamed import Found, StreamedTenantProvider
from .configs import read_tenant_config
from .storage import FileLocation, SourceFile, Version


class FileTenantProvider(StreamedTenantProvider):
    """Base of the files: a subclass takes a file's content apart, and this keeps what it holds.

    location: a path, a URL of object storage, or a `StoredFile`. limit_bytes: larger files are refused.
    config_dir: a local folder with the settings of single tenants, see `read_tenant_config`; None: there are none.
    watch_changes: read the file again when it has changed; False: read it once. mapping: where the file keeps each
    field, and in which words.
    """

    def __init__(
        self,
        location: FileLocation,
        config_dir: str | Path | None,
        watch_changes: bool,
        mapping: FieldMapping,
        limit_bytes: int,
    ) -> None:
        self.file = SourceFile(location, limit_bytes)
        super().__init__(self.file.name)
        self.config_dir = None if config_dir is None else Path(config_dir)
        self.watch_changes = watch_changes
        self.mapping = mapping
        self._lock = asyncio.Lock()
        self._table: TenantTable | None = None
        self._version: Version | None = None

    @abstractmethod
    def _parse(self, content: bytes, fields: Collection[str] | None) -> Iterator[Record | RegistryRecordError]:
        """Yield the records of the file's content, see `records`. Runs in a thread.

        Raises RegistryRecordError where the file as a whole is no list of tenants.
        """

    @override
    async def get_tenant(self, tenant_id: str) -> TenantInfo:
        try:
            return (await self._read()).tenants[tenant_id]
        except KeyError:
            raise TenantNotFoundError(f"{self.source}: no tenant {tenant_id!r}", tenant_id=tenant_id) from None

    @override
    async def get_tenant_config(self, tenant_id: str) -> dict[str, Any]:
        # Asked for each tenant right after the list of them: one look at the file's date is enough.
        if self._table is None or tenant_id not in self._table.tenants:
            await self.get_tenant(tenant_id)
        return await self._config(tenant_id)

    @override
    async def records(self, fields: Collection[str] | None = None) -> AsyncGenerator[Record | RegistryRecordError]:
        def read() -> list[Record | RegistryRecordError]:
            content, _ = self.file.read()
            return list(self._parse(content, fields))

        for record in await asyncio.to_thread(read):
            yield record

    @override
    async def rejected_records(self) -> list[RegistryRecordError]:
        return list((await self._read()).rejected)

    @override
    async def _stream(self, query: TenantQuery) -> AsyncGenerator[Found]:
        for found in (await self._read()).matching(query):
            yield found

    @override
    async def _config(self, tenant_id: str) -> dict[str, Any]:
        return await read_tenant_config(self.config_dir, tenant_id) if self.config_dir else {}

    async def _read(self) -> TenantTable:
        async with self._lock:
            if self._table is not None and not self.watch_changes:
                return self._table
            table, self._version = await asyncio.to_thread(self._current, self._table, self._version)
            self._table = table
            return table

    def _current(self, table: TenantTable | None, version: Version | None) -> tuple[TenantTable, Version | None]:
        if table is not None and version is not None and self.file.is_still(version):
            return table, version
        content, version = self.file.read()
        return read_table(self._parse(content, None), source=self.source), version
