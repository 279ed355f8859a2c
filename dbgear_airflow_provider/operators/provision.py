"""`DbgearProvisionOperator`: provision the tenants of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from airflow.sdk import Context

from ..core.automation import OperationResult, OperationStatus, raise_for_failures
from ..core.fleet import Run
from ..hooks.project import open_fleet
from .base import DbgearOperator, as_bool, as_int, run_key


class DbgearProvisionOperator(DbgearOperator):
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
        self.tenant_label: str | None = None

    @property
    def batch_label(self) -> str:
        """What the Grid calls this task: the tenant, or the first and last of several."""
        tenant_ids = self.batch["tenant_ids"]
        if len(tenant_ids) == 1:
            return self.tenant_label or tenant_ids[0]
        return f"{tenant_ids[0]} to {tenant_ids[-1]} ({len(tenant_ids)} tenants)"

    async def work(self, context: Context) -> dict[str, Any]:
        """Provision the batch."""
        dry_run = as_bool(self.is_dry_run, "is_dry_run")
        in_flight = self.pool_slots
        if self.tenants_in_flight is not None:
            in_flight = min(as_int(self.tenants_in_flight, "tenants_in_flight"), self.pool_slots)
        target, tenant_ids = self.batch["target"], self.batch["tenant_ids"]
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id, targets=[target]) as fleet:
            if len(tenant_ids) == 1:
                tenant = await fleet.registry.get_tenant(tenant_ids[0])
                self.tenant_label = f"{tenant.tenant_id} {' '.join(tenant.customer_name.split())}"[:100]
            run = Run(
                store=fleet.store,
                run_id=run_key(context),
                attempt=context["ti"].try_number,
                since=datetime.fromisoformat(self.batch["selected_at"]),
            )
            results = await fleet.automation(run, self._tell).bulk_provision_tenants(
                {"tenant_id": tenant_ids}, dry_run=dry_run, parallel_limit=in_flight
            )
        if already := len(tenant_ids) - len(results):
            self.log.info("%d tenants were done before and left alone", already)
        raise_for_failures(results)
        return {"succeeded": len(tenant_ids), "failed": []}

    def _tell(self, result: OperationResult) -> None:
        details = result.details or {}
        if result.status is OperationStatus.ERROR:
            self.log.error("tenant %s: %s: %s", result.tenant_id, details.get("error_kind"), result.error)
        else:
            created = f"{details['created']} objects {'to create' if details['dry_run'] else 'created'}"
            self.log.info("tenant %s: %s in %.2f s", result.tenant_id, created, result.duration)
            for name, instance in details["instances"].items():
                if instance["document_changed"]:
                    self.log.warning(
                        "tenant %s, instance %s: its document has changed since it was provisioned; "
                        "new objects were created, changes to existing ones were not",
                        result.tenant_id,
                        name,
                    )
