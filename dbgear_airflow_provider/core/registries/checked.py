"""Tenants of a source that is read as a whole, checked one by one and against each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..errors import RegistryRecordError
from ..tenants import TenantInfo, TenantQuery
from .records import Record


@dataclass(frozen=True, slots=True)
class TenantTable:
    """tenants: by tenant_id, in that order; rejected: the records that are no tenant, in the table's order."""

    tenants: dict[str, TenantInfo]
    rejected: list[RegistryRecordError]

    def matching(self, query: TenantQuery) -> Iterator[TenantInfo | RegistryRecordError]:
        """Yield all that were rejected, then the tenants that match."""
        yield from self.rejected
        yield from (tenant for tenant in self.tenants.values() if query.matches(tenant))


def read_table(records: Iterable[Record | RegistryRecordError], *, source: str) -> TenantTable:
    """Check the records of a source, whose name begins their places.

    Where several good records have one tenant_id, the first stands and the others are rejected.
    """
    first_places: dict[str, str] = {}
    tenants: dict[str, TenantInfo] = {}
    rejected: list[RegistryRecordError] = []
    for record in records:
        try:
            if isinstance(record, RegistryRecordError):
                raise record
            tenant = record.tenant()
            if tenant.tenant_id in tenants:
                raise RegistryRecordError(
                    f"{first_places[tenant.tenant_id]} has this tenant_id already",
                    where=f"{record.where}, {record.label} {record.names.get('tenant_id', 'tenant_id')}",
                    received=tenant.tenant_id,
                )
        except RegistryRecordError as error:
            rejected.append(error)
        else:
            first_places[tenant.tenant_id] = record.where.removeprefix(f"{source}, ")
            tenants[tenant.tenant_id] = tenant
    return TenantTable(dict(sorted(tenants.items())), rejected)
