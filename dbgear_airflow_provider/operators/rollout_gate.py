"""`DbgearRolloutGateOperator`: whether a rollout goes on after a stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import Context, SkipMixin
from airflow.sdk.exceptions import AirflowSkipException

from ..core.errors import RolloutStoppedError
from ..hooks.project import open_fleet
from .base_rollout import DbgearRolloutTaskOperator


class DbgearRolloutGateOperator(DbgearRolloutTaskOperator, SkipMixin):
    """Judge a stage whose tasks have ended: its error budget, the health of what was changed, its soak time.

    Use `trigger_rule="all_done"`. Writes the report of the rollout so far, `rollout.json` and `rollout.html`, into the
    run's report folder, and a table with the time left into the log; pushes the verdict as XCom `verdict`. Waits for
    the soak time in the triggerer, without a slot. Where the budget is spent, or instances are left that nobody works
    on, it stops the rollout and fails. Where the stage was not reached it is skipped. Skips `approval_task_id` unless a
    person is to be asked; never asks after the last stage.

    rollout: its id in the fleet store. stage: index of the stage. list_task_ids: the tasks of
    `DbgearRolloutBatchesOperator` of the stage. approval_task_id: that of `DbgearRolloutApprovalOperator`.
    """

    inherits_from_skipmixin = True

    template_fields: Sequence[str] = (*DbgearRolloutTaskOperator.template_fields, "rollout")

    def __init__(
        self, *, rollout: str, stage: int, list_task_ids: Sequence[str], approval_task_id: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.rollout = rollout
        self.stage = stage
        self.list_task_ids = list_task_ids
        self.approval_task_id = approval_task_id

    async def work(self, context: Context) -> None:
        """Judge, and stop, wait, ask or go on."""
        ti = context["ti"]
        if all(ti.xcom_pull(task_ids=task_id) is None for task_id in self.list_task_ids):
            raise AirflowSkipException("the rollout did not come to this stage")
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id) as fleet:
            work = await self.rollout_work(context, fleet, self.rollout, keeps_results=False)
            members = await fleet.store.rollouts.members(self.rollout)
            changed = [item.tenant_id for item in members if item.stage == self.stage and item.status == "changed"]
            if changed:
                tenants = await fleet.registry.list_tenants({"tenant_id": changed}, limit=None)
                await fleet.connect_for(tenants)
            verdict = await work.judge(self.stage, members)
            _, path = await self.write_report(context, work, members, verdict)
            ti.xcom_push("verdict", verdict.details())
            if verdict.action == "stop":
                await fleet.store.rollouts.set_status(self.rollout, "stopped", of=["running"])
        name = work.record.stages[self.stage]["name"]
        self.log.info("%s: %s %s", name, verdict.action, "; ".join(verdict.reasons))
        status = "stopped" if verdict.action == "stop" else work.record.status
        if status != "running":
            text = "; ".join([f"rollout {self.rollout} is {status} after {name}", *verdict.reasons, f"report: {path}"])
            raise RolloutStoppedError(text, rollout=self.rollout, stage=self.stage)
        if verdict.action == "wait" and verdict.until is not None:
            self.defer(trigger=DateTimeTrigger(moment=verdict.until), method_name="look_again")
        if verdict.action == "go":
            self.skip(ti, [context["dag"].get_task(self.approval_task_id)])

    def look_again(self, context: Context, event: Any = None) -> Any:
        """Judge anew, after the wait."""
        return self.execute(context)  # type: ignore[no-untyped-call]  # Airflow's own
