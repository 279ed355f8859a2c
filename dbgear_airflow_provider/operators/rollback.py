"""`DbgearRollbackOperator`: what a rollout has changed in the tenants of one batch is undone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from ..core.automation import OperationResult, raise_for_failures
from ..hooks.project import open_fleet
from .base import as_bool
from .base_batch import DbgearBatchOperator
from .base_rollout import DbgearRolloutTaskOperator


class DbgearRollbackOperator(DbgearBatchOperator, DbgearRolloutTaskOperator):
    """Undo a rollout in the tenants of a batch of `DbgearRolloutBatchesOperator`. To be mapped over batches.

    Exactly the instances that the rollout has changed go back to what they had before, by the down sections of the
    scripts. One that was migrated further since is not touched, and fails. Returns `{"undone": n}`, instances. A retry
    does only what is not undone.

    rollout: its id in the fleet store. is_dry_run is True by default: the log tells the exact statements.
    tenants_in_flight: tenants at once; at most `pool_slots`, which is what the task takes from its pool.
    """

    template_fields: Sequence[str] = (
        *DbgearRolloutTaskOperator.template_fields,
        "batch",
        "rollout",
        "is_dry_run",
        "tenants_in_flight",
    )

    def __init__(
        self,
        *,
        batch: dict[str, Any],
        rollout: str,
        is_dry_run: bool | str = True,
        tenants_in_flight: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.rollout = rollout
        self.is_dry_run = is_dry_run
        self.tenants_in_flight = tenants_in_flight

    async def work(self, context: Context) -> dict[str, Any]:
        """Undo what the rollout has done to the batch."""
        dry_run = as_bool(self.is_dry_run, "is_dry_run")
        target, tenant_ids = self.batch["target"], set(self.batch["tenant_ids"])
        async with open_fleet(
            self.project_file, fleet_conn_id=self.fleet_conn_id, targets=[target], hands_over=not dry_run
        ) as fleet:
            await self.learn_label(fleet)
            work = await self.rollout_work(
                context, fleet, self.rollout, in_flight=self.in_flight, keeps_results=not dry_run
            )
            changed = await fleet.store.rollouts.to_undo(self.rollout)
            members = [member for member in changed if member.tenant_id in tenant_ids]
            results = await work.undo(members, dry_run=dry_run)
        raise_for_failures(results)
        return {"undone": 0 if dry_run else len(results)}

    def _tell_success(self, result: OperationResult, details: Mapping[str, Any]) -> None:
        for name, item in details["instances"].items():
            for statement in item.get("statements", []):
                self.log.info("tenant %s, instance %s: to undo: %s", result.tenant_id, name, statement)
            if not details["dry_run"]:
                self.log.info("tenant %s, instance %s: undone %s", result.tenant_id, name, ", ".join(item["versions"]))
