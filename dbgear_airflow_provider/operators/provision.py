"""`DbgearProvisionOperator`: provision the tenants of one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow.sdk import Context

from ..core.automation import OperationResult, TenantAutomationEngine, raise_for_failures
from ..core.registries import Filters
from ..hooks.project import open_fleet
from .base import DbgearOperator, as_bool, run_of
from .base_batch import DbgearBatchOperator


class DbgearProvisionOperator(DbgearBatchOperator):
    """Provision the tenants of a batch of `DbgearListTenantsOperator`. To be mapped over batches.

    Returns `{"succeeded": n, "failed": [tenant_ids]}`. Fails when a tenant failed: at once where a retry would not
    help any of them; a retry, or clearing the task, does only the tenants that have not succeeded since the batch
    was selected. is_dry_run is True by default: it connects and reads, and the fleet store and the report tell the
    exact statements.

    tenants_in_flight: tenants at once; at most `pool_slots`, which is what the task takes from its pool.
    """

    template_fields: Sequence[str] = (
        *DbgearOperator.template_fields,
        "batch",
        "is_dry_run",
        "tenants_in_flight",
    )

    def __init__(
        self,
        *,
        batch: dict[str, Any],
        is_dry_run: bool | str = True,
        tenants_in_flight: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.is_dry_run = is_dry_run
        self.tenants_in_flight = tenants_in_flight

    async def work(self, context: Context) -> dict[str, Any]:
        """Provision the batch."""
        dry_run = as_bool(self.is_dry_run, "is_dry_run")
        in_flight = self.in_flight
        target, tenant_ids = self.batch["target"], self.batch["tenant_ids"]
        async with open_fleet(
            self.project_file, fleet_conn_id=self.fleet_conn_id, targets=[target], hands_over=not dry_run
        ) as fleet:
            await self.learn_label(fleet)
            run = run_of(context, fleet.store, since=datetime.fromisoformat(self.batch["selected_at"]))
            automation = fleet.automation(run, self._tell)
            results = await self.carry_out(automation, {"tenant_id": tenant_ids}, dry_run, in_flight)
        if already := len(tenant_ids) - len(results):
            self.log.info("%d tenants were done before and left alone", already)
        raise_for_failures(results)
        return {"succeeded": len(tenant_ids), "failed": []}

    async def carry_out(
        self, automation: TenantAutomationEngine, tenants: Filters, dry_run: bool, in_flight: int
    ) -> list[OperationResult]:
        """Do for tenants what the operator is for."""
        return await automation.bulk_provision_tenants(tenants, dry_run=dry_run, parallel_limit=in_flight)

    def _tell_success(self, result: OperationResult, details: Mapping[str, Any]) -> None:
        created = f"{details['created']} objects {'to create' if details['dry_run'] else 'created'}"
        self.log.info("tenant %s: %s in %.2f s", result.tenant_id, created, result.duration)
        if any(details["rows"].values()):
            self.log.info("tenant %s: initial data: %s", result.tenant_id, details["rows"])
        for name, instance in details["instances"].items():
            for warning in instance["warnings"]:
                self.log.warning("tenant %s, instance %s: left out: %s", result.tenant_id, name, warning)
            if instance["document_changed"]:
                self.log.warning(
                    "tenant %s, instance %s: its document has changed since it was provisioned; "
                    "new objects were created, changes to existing ones were not",
                    result.tenant_id,
                    name,
                )
