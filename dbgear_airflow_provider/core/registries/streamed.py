"""`StreamedTenantProvider`: the five questions of a registry, answered from one stream of tenants."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from copy import deepcopy
from typing import Any, TypeVar

from pydantic import TypeAdapter
from typing_extensions import TypedDict, override

from ..errors import RegistryRecordError, TenantNotFoundError
from ..tenants import TenantInfo, TenantQuery
from .base import Filters, TenantRegistryProvider
from .cache import RegistryCache

T = TypeVar("T")
Found = TenantInfo | RegistryRecordError


class StreamedTenantProvider(TenantRegistryProvider):
    """Base of the registries: a subclass streams what matches, and this does the rest.

    source: what is read, without secrets, as errors, metrics and cache keys name it. cache: where answers are kept;
    None keeps none; whoever made it closes it. settings: what else decides the answers, such as the field mapping, as
    a text: workers with other settings share a Redis, but no answers.
    """

    def __init__(self, source: str, cache: RegistryCache | None = None, *, settings: str = "") -> None:
        self.source = source
        self.cache = cache
        self._settings = settings

    @abstractmethod
    def _stream(self, query: TenantQuery) -> AsyncGenerator[Found]:
        """Yield the tenants that match, ordered by tenant_id, each once; between them the bad records, if known.

        A bad record may match or not: whoever asks with the query TRUE gets them all.
        """

    @abstractmethod
    async def _config(self, tenant_id: str) -> dict[str, Any]:
        """Return the settings of a tenant, which exists; {} where it has none."""

    @override
    async def list_tenants(
        self, filters: Filters | None = None, offset: int = 0, limit: int | None = 100
    ) -> list[TenantInfo]:
        query = TenantQuery.from_filters(filters)
        end = None if limit is None else offset + limit

        async def read() -> list[TenantInfo]:
            page: list[TenantInfo] = []
            if end == offset:
                return page
            async with aclosing(self.stream_tenants(query)) as stream:
                number = 0
                async for tenant in stream:
                    number += 1
                    if number > offset:
                        page.append(tenant)
                    if number == end:
                        break
            return page

        return await self._cached(f"list {offset} {limit} {_as_text(filters)}", read, _TENANTS, copy=list)

    @override
    async def search_tenants(self, query: str) -> list[TenantInfo]:
        parsed = TenantQuery.parse(query)

        async def read() -> list[TenantInfo]:
            return [tenant async for tenant in self.stream_tenants(parsed)]

        return await self._cached(f"search {query}", read, _TENANTS, copy=list)

    @override
    async def get_tenant(self, tenant_id: str) -> TenantInfo:
        async def read() -> TenantInfo:
            # An error is not kept: a tenant may be created and asked for the next moment.
            async with aclosing(self.stream_tenants(TenantQuery.from_filters({"tenant_id": tenant_id}))) as stream:
                async for tenant in stream:
                    return tenant
            raise TenantNotFoundError(f"{self.source}: no tenant {tenant_id!r}", tenant_id=tenant_id)

        return await self._cached(f"tenant {tenant_id}", read, _TENANT)

    @override
    async def get_tenant_count(self, filters: Filters | None = None) -> int:
        query = TenantQuery.from_filters(filters)

        async def read() -> int:
            count = 0
            async for _ in self.stream_tenants(query):
                count += 1
            return count

        return await self._cached(f"count {_as_text(filters)}", read, _COUNT)

    @override
    async def get_tenant_config(self, tenant_id: str) -> dict[str, Any]:
        async def read() -> dict[str, Any]:
            await self.get_tenant(tenant_id)
            return await self._config(tenant_id)

        return await self._cached(f"config {tenant_id}", read, _CONFIG)

    @override
    async def rejected_records(self) -> list[RegistryRecordError]:
        async def read() -> list[_Rejected]:
            async with aclosing(self._stream(TenantQuery.from_filters(None))) as stream:
                return [_rejected(found) async for found in stream if isinstance(found, RegistryRecordError)]

        # Errors that were raised once carry their traceback along: each caller gets new ones.
        rejected = await self._cached("rejected", read, _REJECTED, copy=list)
        return [RegistryRecordError(**told) for told in rejected]

    @override
    async def forget(self) -> None:
        if self.cache is not None:
            await self.cache.invalidate(self.source)

    @override
    async def stream_tenants(self, query: TenantQuery | None = None) -> AsyncGenerator[TenantInfo]:
        async with aclosing(self._stream(query or TenantQuery.from_filters(None))) as stream:
            async for found in stream:
                if isinstance(found, TenantInfo):
                    yield found

    async def _cached(
        self,
        question: str,
        read: Callable[[], Awaitable[T]],
        adapter: TypeAdapter[T] | None = None,
        *,
        copy: Callable[[T], T] = deepcopy,
    ) -> T:
        """Return the answer to a question from the cache, or else from `read`. See `RegistryCache.answer`."""
        if self.cache is None:
            return await read()
        return await self.cache.answer(self.source, f"{question}\n{self._settings}", read, adapter, copy=copy)


class _Rejected(TypedDict):
    """What a RegistryRecordError is made from."""

    problem: str
    where: str
    received: Any
    allowed: str | tuple[str, ...] | None


_TENANT = TypeAdapter(TenantInfo)
_TENANTS = TypeAdapter(list[TenantInfo])
_COUNT = TypeAdapter(int)
_CONFIG = TypeAdapter(dict[str, Any])
_REJECTED = TypeAdapter(list[_Rejected])


def _rejected(error: RegistryRecordError) -> _Rejected:
    told = error.details
    allowed = told["allowed"]
    return {
        "problem": told["problem"],
        "where": told["where"],
        "received": told["received"],
        "allowed": allowed if allowed is None or isinstance(allowed, str) else tuple(allowed),
    }


def _as_text(filters: Filters | None) -> str:
    """Return filters so that those of one meaning have one text, in every process, and others have another."""
    return repr(
        [
            (name, sorted(map(repr, value)) if isinstance(value, list | tuple | set | frozenset) else value)
            for name, value in sorted((filters or {}).items())
        ]
    )
