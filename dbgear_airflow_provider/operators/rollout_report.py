"""`DbgearRolloutReportOperator`: what became of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from ..core.automation import end_rollout
from ..core.errors import RolloutStoppedError, TenantsFailedError
from ..core.fleet import RolloutMember
from ..hooks.project import open_fleet
from .base_rollout import DbgearRolloutTaskOperator


class DbgearRolloutReportOperator(DbgearRolloutTaskOperator):
    """Decide how a rollout has ended, write its report, and fail the run unless it has reached all that it could.

    To be run last, with trigger_rule="all_done": it is this task that fails the run. Writes `rollout.json` and
    `rollout.html` into the run's report folder and a table into the log. Returns (and, before it fails, pushes as XCom
    `summary`) the rollout's id, its status, its counts of instances and the path of the report; after a dry run what
    the plan said.

    plan_task_id: the task of `DbgearRolloutOperator`.
    """

    def __init__(self, *, plan_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan_task_id = plan_task_id

    async def work(self, context: Context) -> dict[str, Any]:
        """Decide, write, tell."""
        plan: dict[str, Any] | None = context["ti"].xcom_pull(task_ids=self.plan_task_id, key="summary")
        if plan is None:
            raise RolloutStoppedError(f"task {self.plan_task_id} failed: nothing was begun", rollout=None, stage=None)
        if plan["rollout"] is None:
            self.log.info("a dry run; the plan: %s", plan["report"])
            return plan
        rollout_id, is_undone = plan["rollout"], plan["action"] == "undo"
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id) as fleet:
            rollouts = fleet.store.rollouts
            left = await rollouts.to_undo(rollout_id)
            if is_undone and not left:
                await rollouts.set_status(rollout_id, "undone", of=["stopped"])
            elif not is_undone:
                await end_rollout(rollouts, rollout_id)
            work = await self.rollout_work(context, fleet, rollout_id, keeps_results=False)
            members = await rollouts.members(rollout_id)
            report, path = await self.write_report(context, work, members)
        summary = {"rollout": rollout_id, "status": work.record.status, **report.counts, "report": str(path)}
        context["ti"].xcom_push("summary", summary)
        if not is_undone:
            report.raise_unless_done()
        elif left:
            raise TenantsFailedError(
                _not_undone(rollout_id, left), tenant_ids=sorted({item.tenant_id for item in left})
            )
        return summary


def _not_undone(rollout_id: str, left: Sequence[RolloutMember]) -> str:
    named = [f"{item.tenant_id}/{item.instance}: {item.error or 'not tried'}" for item in left[:5]]
    return f"rollout {rollout_id}: {len(left)} instances are not undone: {'; '.join(named)}"
