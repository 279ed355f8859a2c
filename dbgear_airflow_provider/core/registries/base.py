"""`TenantRegistryProvider`: where the list of tenants comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from ..errors import RegistryRecordError
from ..tenants import TenantInfo, TenantQuery
from .records import Record

Filters = Mapping[str, Any]


class TenantRegistryProvider(ABC):
    """A source of tenants. Reading is safe to repeat; nothing here writes.

    All methods raise SourceUnavailableError when the source cannot be read now, and RegistryRecordError when
    it can be read but is no list of tenants at all. A single bad record never raises: it is left out of the
    answers and told by `rejected_records`.
    """

    @abstractmethod
    async def list_tenants(
        self, filters: Filters | None = None, offset: int = 0, limit: int | None = 100
    ) -> list[TenantInfo]:
        """Return the tenants that match, ordered by tenant_id.

        filters: {field: value}: the field equals the value, or one of the values where it is a list, tuple or
        set; None as a value means the field is empty. An unknown field raises QueryError.
        limit: rows at the most; None means all.
        """

    @abstractmethod
    async def get_tenant(self, tenant_id: str) -> TenantInfo:
        """Return one tenant. Raises TenantNotFoundError."""

    @abstractmethod
    async def get_tenant_config(self, tenant_id: str) -> dict[str, Any]:
        """Return the tenant's own settings, {} where it has none. Raises TenantNotFoundError."""

    @abstractmethod
    async def search_tenants(self, query: str) -> list[TenantInfo]:
        """Return all tenants that match a query of the `TenantQuery` language, ordered by tenant_id."""

    @abstractmethod
    async def get_tenant_count(self, filters: Filters | None = None) -> int:
        """Return how many tenants `list_tenants` would give without paging."""

    @abstractmethod
    def stream_tenants(self, query: TenantQuery | None = None) -> AsyncGenerator[TenantInfo]:
        """Yield all tenants that match, ordered by tenant_id; None: all. Read anew, never from a cache."""

    @abstractmethod
    def records(self, fields: Collection[str] | None = None) -> AsyncIterator[Record | RegistryRecordError]:
        """Yield what the source holds, in its order and unchecked: for a sync, which checks what it has merged.

        fields: those that are asked for, tenant_id is always among them; None: all. An error stands for a record
        that cannot even be told apart into fields.
        """

    async def rejected_records(self) -> list[RegistryRecordError]:
        """Return the records of the source that are no valid tenant, in the order of the source."""
        return []

    async def forget(self) -> None:  # noqa: B027  most registries keep no answers
        """Drop the answers that are kept of this registry, so that what others wrote is seen. Safe to repeat."""

    async def aclose(self) -> None:  # noqa: B027  most registries hold nothing
        """Release what the provider holds open. Safe to repeat."""


class TenantRegistryWriter(ABC):
    """A registry that can be written as well: the registry of record that a sync keeps up to date.

    A write drops the answers that the registry keeps.
    """

    @abstractmethod
    async def write_tenants(self, tenants: Sequence[TenantInfo]) -> None:
        """Add or replace tenants by their tenant_id, all or none of them. Deletes nothing. Safe to repeat."""

    @abstractmethod
    async def write_configs(self, configs: Mapping[str, Mapping[str, Any]]) -> None:
        """Add or replace the settings of tenants, {tenant_id: settings}, all or none of them. Safe to repeat."""
