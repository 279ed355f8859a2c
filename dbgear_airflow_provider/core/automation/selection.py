"""Selecting tenants for a run, and cutting them into batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from ..engines import Server
from ..errors import NameClashError, RegistryRecordError, SettingsError
from ..registries import TenantRegistryProvider
from ..settings import MultiTenantSettings
from ..tenants import TenantInfo, naming
from .results import OperationResult, OperationStatus


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The tenants of one target that a run is about.

    tenants: those to work on, ordered by tenant_id. clashing: {tenant_id: why} of those selected that must not be
    touched, because they would share a name with another tenant of the fleet. everybody: all tenants of the registry.
    rejected: records of it that are no tenants, whatever the query.
    """

    tenants: Sequence[TenantInfo]
    clashing: Mapping[str, str]
    everybody: Sequence[TenantInfo]
    rejected: Sequence[RegistryRecordError]

    def clash_results(self, operation: str) -> list[OperationResult]:
        """Return the results of those that must not be touched, of the kind NameClashError."""
        details = {"error_kind": NameClashError.__name__, "transient": False, "attempts": 0}
        return [
            OperationResult(tenant_id, operation, OperationStatus.ERROR, 0.0, why, dict(details))
            for tenant_id, why in self.clashing.items()
        ]


async def select_tenants(
    registry: TenantRegistryProvider,
    settings: MultiTenantSettings,
    *,
    query: str,
    target: str,
    isolation: Collection[str] = (),
    server: Server | None = None,
) -> Selection:
    """Select the tenants that match a query and live on `target`; isolation: only these strategies, () means all.

    Names are compared over the whole fleet, terminated tenants included: their databases may still be there.
    server: the target, unconnected, for what its kind says of names that clash.
    Raises QueryError, and SettingsError where no rule places one of those that match.
    """
    found = [tenant for tenant in await registry.search_tenants(query) if settings.target_of(tenant) == target]
    if isolation:
        found = [tenant for tenant in found if tenant.isolation_strategy in isolation]
    everybody = await registry.list_tenants(limit=None)
    fleet = [tenant for tenant in everybody if _lives_on(tenant, target, settings)]
    errors = find_clashing(fleet, server, roles=settings.access.roles)
    clashing = {tenant_id: error.message for tenant_id, error in errors.items()}
    return Selection(
        tenants=[tenant for tenant in found if tenant.tenant_id not in clashing],
        clashing={tenant.tenant_id: clashing[tenant.tenant_id] for tenant in found if tenant.tenant_id in clashing},
        everybody=everybody,
        rejected=await registry.rejected_records(),
    )


def find_clashing(
    tenants: Collection[TenantInfo], server: Server | None, *, roles: bool = False
) -> dict[str, NameClashError]:
    """Return {tenant_id: why} of the tenants of one server that would share a name there.

    roles: whether they have roles of their own.
    """
    clashes = naming.find_clashes(
        tenants,
        schemas_are_databases=server is not None and server.schemas_are_databases,
        shared_schema=None if server is None else server.shared_schema,
    )
    if roles:
        clashes = {**naming.find_role_clashes(tenants), **clashes}
    found = {}
    for name, ids in clashes.items():
        with_whom = f"tenants {', '.join(ids)}" if len(ids) > 1 else f"tenant {ids[0]} and those of isolation table"
        for tenant_id in ids:
            found[tenant_id] = NameClashError(f"{name} would be shared by {with_whom}", name=name, tenants=ids)
    return found


def _lives_on(tenant: TenantInfo, target: str, settings: MultiTenantSettings) -> bool:
    try:
        return settings.target_of(tenant) == target
    except SettingsError:  # no rule places it: it takes no name anywhere, and must not stop those that were selected
        return False


def cut_batches(
    tenant_ids: Sequence[str], *, target: str, max_batches: int, selected_at: datetime
) -> list[dict[str, Any]]:
    """Cut tenants into at most max_batches batches of nearly equal size, in order.

    Each is `{index, target, tenant_ids, selected_at}`; up to max_batches tenants, each has a batch of its own.
    """
    count = min(max_batches, len(tenant_ids))
    edges = [len(tenant_ids) * index // count for index in range(count + 1)] if count else [0]
    return [
        {
            "index": index,
            "target": target,
            "tenant_ids": list(tenant_ids[start:end]),
            "selected_at": selected_at.isoformat(),
        }
        for index, (start, end) in enumerate(pairwise(edges))
    ]
