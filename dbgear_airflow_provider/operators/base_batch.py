"""What operators share that are mapped over batches of tenants."""

from __future__ import annotations

from typing import Any

from ..hooks.project import Fleet
from .base import DbgearOperator, as_int


class DbgearBatchOperator(DbgearOperator):
    """Base of what is mapped over batches of tenants.

    Its classes take `batch`, and `tenants_in_flight`: tenants at once; at most `pool_slots`, which is what the task
    takes from its pool.
    """

    batch: dict[str, Any]
    tenants_in_flight: int | str | None
    tenant_label: str | None = None

    @property
    def batch_label(self) -> str:
        """What the Grid calls this task: the tenant, or the first and last of several."""
        tenant_ids = self.batch["tenant_ids"]
        if len(tenant_ids) == 1:
            return self.tenant_label or tenant_ids[0]
        return f"{tenant_ids[0]} to {tenant_ids[-1]} ({len(tenant_ids)} tenants)"

    @property
    def in_flight(self) -> int:
        """How many tenants at once. Raises InvalidInputError."""
        if self.tenants_in_flight is None:
            return self.pool_slots
        return min(as_int(self.tenants_in_flight, "tenants_in_flight"), self.pool_slots)

    async def learn_label(self, fleet: Fleet) -> None:
        """Let the Grid call this task by the tenant's name, where it has only one."""
        if len(self.batch["tenant_ids"]) == 1:
            tenant = await fleet.registry.get_tenant(self.batch["tenant_ids"][0])
            self.tenant_label = f"{tenant.tenant_id} {' '.join(tenant.customer_name.split())}"[:100]
