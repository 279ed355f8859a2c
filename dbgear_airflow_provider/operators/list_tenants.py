"""`DbgearListTenantsOperator`: a query in, batches of tenants out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Context

from ..core.automation import cut_batches
from ..core.tenants import IsolationStrategy
from ..hooks.project import open_fleet
from .base import DbgearOperator, as_list, run_of


class DbgearListTenantsOperator(DbgearOperator):
    """Select the tenants of one target and cut them into batches to map over.

    Returns `[{index, target, tenant_ids, selected_at}]`, [] when no tenant matches. Records of the registry that
    are no tenants are logged and pushed as XCom `rejected` (list of messages); they stop nothing. Tenants that
    would share a name with another are left out of the batches and recorded as failed.

    query: in the tenant query language. isolation: only these strategies; [] means all. operation: under which
    name the failed ones are recorded. max_batches: None means `automation.max_mapped_tasks` of the project.
    """

    template_fields: Sequence[str] = (*DbgearOperator.template_fields, "query", "target", "isolation")

    def __init__(
        self,
        *,
        query: str,
        target: str,
        operation: str,
        isolation: list[IsolationStrategy] | str = "",
        max_batches: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.query = query
        self.target = target
        self.operation = operation
        self.isolation = isolation
        self.max_batches = max_batches

    async def work(self, context: Context) -> list[dict[str, Any]]:
        """Select, report what is wrong with the list, and return the batches."""
        selected_at = datetime.now(UTC)
        isolation = as_list(self.isolation, "isolation")
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id, targets=[self.target]) as fleet:
            selection = await fleet.select(self.query, self.target, isolation)
            run = run_of(context, fleet.store)
            await fleet.store.record([result.record(run) for result in selection.clash_results(self.operation)])
            max_batches = self.max_batches or fleet.settings.automation.max_mapped_tasks
        for error in selection.rejected:
            self.log.warning("left out: %s", error)
        for tenant_id, why in selection.clashing.items():
            self.log.error("tenant %s: %s", tenant_id, why)
        for tenant in selection.tenants:
            if tenant.status != "active":
                self.log.warning("tenant %s is %s, and the query selects it", tenant.tenant_id, tenant.status)
        tenant_ids = [tenant.tenant_id for tenant in selection.tenants]
        batches = cut_batches(tenant_ids, target=self.target, max_batches=max_batches, selected_at=selected_at)
        self.log.info("%d tenants on target %s in %d batches", len(tenant_ids), self.target, len(batches))
        context["ti"].xcom_push("rejected", [error.message for error in selection.rejected])
        return batches
