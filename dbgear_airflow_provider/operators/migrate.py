"""`DbgearMigrateOperator`: the tenants of one batch of a stage are migrated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from ..core.automation import OperationResult, estimate_text, failure_text
from ..core.errors import RolloutStoppedError, TenantsFailedError
from ..core.fleet import RolloutMember
from ..core.rollout import build_report
from ..hooks.project import open_fleet
from .base_batch import DbgearBatchOperator
from .base_rollout import DbgearRolloutTaskOperator

# In a larger batch not each tenant that succeeds has a line in the log: for a thousand of them, lines would cost a
# quarter of the time.
_NAMED = 100


class DbgearMigrateOperator(DbgearBatchOperator, DbgearRolloutTaskOperator):
    """Migrate the tenants of a batch of `DbgearRolloutBatchesOperator`. To be mapped over batches.

    Before each tenant the stage's error budget is asked. Results go to the fleet store as they come; the log names who
    has failed, and in batches of up to 100 everybody. Returns
    `{"changed": n, "unchanged": n}`, instances. Fails where a tenant has failed; is skipped where none was begun,
    because the rollout was stopped or their maintenance windows have closed. A retry does only what was not begun or
    not recorded: failed tenants count in the budget, and are tried again by the rollout's `retry`.

    rollout: its id in the fleet store. stage: index of the stage. tenants_in_flight: tenants at once; at most
    `pool_slots`, which is what the task takes from its pool.
    """

    template_fields: Sequence[str] = (
        *DbgearRolloutTaskOperator.template_fields,
        "batch",
        "rollout",
        "tenants_in_flight",
    )

    def __init__(
        self,
        *,
        batch: dict[str, Any],
        rollout: str,
        stage: int,
        tenants_in_flight: int | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.batch = batch
        self.rollout = rollout
        self.stage = stage
        self.tenants_in_flight = tenants_in_flight
        self._succeeded = 0

    async def work(self, context: Context) -> dict[str, Any]:
        """Migrate the batch."""
        target, tenant_ids = self.batch["target"], set(self.batch["tenant_ids"])
        async with open_fleet(
            self.project_file, fleet_conn_id=self.fleet_conn_id, targets=[target], hands_over=True
        ) as fleet:
            await self.learn_label(fleet)
            work = await self.rollout_work(context, fleet, self.rollout, in_flight=self.in_flight)
            members = [member for member in await work.to_do(self.stage) if member.tenant_id in tenant_ids]
            await work.migrate(self.stage, members)
            every = await fleet.store.rollouts.members(self.rollout)
            report = build_report(work.record, every, now=datetime.now(UTC))
        self.log.info("rollout %s: %s", self.rollout, estimate_text(report.estimate))
        ours = [member for member in every if member.stage == self.stage and member.tenant_id in tenant_ids]
        return _outcome(ours, len(tenant_ids))

    def _tell(self, result: OperationResult) -> None:
        if (result.details or {}).get("error_kind") == RolloutStoppedError.__name__:
            self.log.info("tenant %s was not begun: %s", result.tenant_id, result.error)
        else:
            super()._tell(result)

    def _tell_success(self, result: OperationResult, details: Mapping[str, Any]) -> None:
        tenants = len(self.batch["tenant_ids"])
        if tenants > _NAMED:
            self._succeeded += 1
            if self._succeeded % _NAMED == 0:
                self.log.info("%d of %d tenants are done", self._succeeded, tenants)
            return
        for name, item in details["instances"].items():
            done = f"applied {', '.join(item['versions'])}" if item["versions"] else "nothing to apply"
            self.log.info("tenant %s, instance %s: %s in %.2f s", result.tenant_id, name, done, result.duration)


def _outcome(members: Sequence[RolloutMember], tenants: int) -> dict[str, Any]:
    """Return what became of a batch. Raises where a tenant failed, or was not begun."""
    failed = {member.tenant_id: member.error for member in members if member.status == "failed"}
    if failed:
        raise TenantsFailedError(failure_text(list(failed.items()), tenants), tenant_ids=sorted(failed))
    left = sorted({member.tenant_id for member in members if member.status in {"pending", "skipped"}})
    if left:
        text = f"{len(left)} of {tenants} tenants were not begun: the rollout stopped, or their windows have closed"
        if len(left) == tenants:
            raise AirflowSkipException(text)
        raise RolloutStoppedError(text, rollout=None, stage=None)
    return {status: sum(member.status == status for member in members) for status in ("changed", "unchanged")}
