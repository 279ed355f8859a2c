"""`DbgearPlanOperator`: bring the tenants of one batch to their documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.automation import OperationResult, TenantAutomationEngine
from ..core.registries import Filters
from .base import as_bool
from .provision import DbgearProvisionOperator


class DbgearPlanOperator(DbgearProvisionOperator):
    """Plan, and carry out, what the tenants of a batch need to hold what their documents say. To be mapped.

    Batches, results and retries are those of `DbgearProvisionOperator`. is_dry_run is True by default: it reads
    only, and the fleet store and the log tell the exact statements. allow_destructive: also where rows or values may be
    lost; without it such a tenant is not touched and fails with PlanRefusedError. A tenant that is not there, cannot be
    read or clashes with another fails under its own name, and does not stop the others.
    """

    template_fields: Sequence[str] = (
        *DbgearProvisionOperator.template_fields,
        "batch",
        "is_dry_run",
        "allow_destructive",
        "tenants_in_flight",
    )

    def __init__(
        self,
        *,
        batch: dict[str, Any],
        is_dry_run: bool | str = True,
        allow_destructive: bool | str = False,
        tenants_in_flight: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch=batch, is_dry_run=is_dry_run, tenants_in_flight=tenants_in_flight, **kwargs)
        self.allow_destructive = allow_destructive

    async def carry_out(
        self, automation: TenantAutomationEngine, tenants: Filters, dry_run: bool, in_flight: int
    ) -> list[OperationResult]:
        """Plan again and carry out."""
        return await automation.bulk_apply_plans(
            tenants,
            dry_run=dry_run,
            allow_destructive=as_bool(self.allow_destructive, "allow_destructive"),
            parallel_limit=in_flight,
            clashing=self.batch.get("clashing", {}),
        )

    def _tell_success(self, result: OperationResult, details: Mapping[str, Any]) -> None:
        done = "to do" if details["dry_run"] else "done"
        self.log.info("tenant %s: %d statements %s", result.tenant_id, details["changed"], done)
        for name, plan in details["instances"].items():
            for statement in plan["statements"]:
                told = "may lose data: " if statement["destructive"] else ""
                self.log.info("tenant %s, instance %s: %s%s", result.tenant_id, name, told, statement["sql"])
            for warning in plan["warnings"]:
                self.log.warning("tenant %s, instance %s: left out: %s", result.tenant_id, name, warning)
            for left in plan["unrepaired"]:
                self.log.warning("tenant %s, instance %s: not repaired: %s", result.tenant_id, name, left)
