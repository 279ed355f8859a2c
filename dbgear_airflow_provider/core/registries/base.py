"""`TenantRegistryProvider`: where the list of tenants comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ..errors import RegistryRecordError
from ..tenants import TenantInfo

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

    async def rejected_records(self) -> list[RegistryRecordError]:
        """Return the records of the source that are no valid tenant, in the order of the source."""
        return []

    async def aclose(self) -> None:  # noqa: B027  most registries hold nothing
        """Release what the provider holds open. Safe to repeat."""
