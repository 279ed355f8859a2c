"""`DbgearRolloutApprovalOperator`: a person says whether a rollout goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from airflow.providers.standard.exceptions import HITLRejectException
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Context

from ..core.automation import rollout_markdown
from ..core.errors import RolloutStoppedError
from ..core.rollout import build_report
from ..hooks.fleet import FleetStoreHook
from .base import RETRY_POLICY


class DbgearRolloutApprovalOperator(ApprovalOperator):
    """Ask a person, on Airflow's page of required actions, whether a rollout goes on after a stage.

    The page has the scripts, what became of each stage so far, and the time left. Waits without a slot. Who approved is
    kept in the fleet store; where the rollout comes here again, nobody is asked again. Reject stops the rollout and
    fails the task. Give it retries: Airflow may lose an answer that comes right after the question.

    rollout: its id in the fleet store. stage: index of the stage. fleet_conn_id: the connection of the fleet store.
    """

    template_fields: Sequence[str] = (*ApprovalOperator.template_fields, "fleet_conn_id", "rollout")

    def __init__(
        self, *, rollout: str, stage: int, fleet_conn_id: str = FleetStoreHook.default_conn_name, **kwargs: Any
    ) -> None:
        kwargs["retry_policy"] = kwargs.get("retry_policy") or RETRY_POLICY
        super().__init__(subject="Shall the rollout go on?", fail_on_reject=True, **kwargs)
        self.fleet_conn_id = fleet_conn_id
        self.rollout = rollout
        self.stage = stage

    def execute(self, context: Context) -> Any:
        """Ask, unless the answer of an earlier try is there."""
        if asyncio.run(self._is_approved()):
            self.log.info("somebody has approved already")
            return None
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Take the answer."""
        try:
            answer = super().execute_complete(context, event)
        except HITLRejectException:
            asyncio.run(self._stop())
            by = _name(event.get("responded_by_user"))
            text = f"{by} has stopped rollout {self.rollout}"
            raise RolloutStoppedError(text, rollout=self.rollout, stage=self.stage) from None
        asyncio.run(self._approve(_name(answer["responded_by_user"])))
        return answer

    async def _is_approved(self) -> bool:
        """Return whether somebody has approved; if nobody has, say what is asked. Raises RolloutStoppedError."""
        store = await FleetStoreHook(self.fleet_conn_id).get_store()
        try:
            record = await store.rollouts.require(self.rollout)
            members = await store.rollouts.members(self.rollout)
        finally:
            await store.aclose()
        if record.status != "running":
            text = f"rollout {self.rollout} is {record.status}"
            raise RolloutStoppedError(text, rollout=self.rollout, stage=self.stage)
        if any(approval["stage"] == self.stage for approval in record.approvals):
            return True
        report = build_report(record, members, now=datetime.now(UTC))
        name, following = record.stages[self.stage]["name"], record.stages[self.stage + 1]["name"]
        self.subject = f"Rollout to version {record.version}: go on from {name} to {following}?"
        self.body = rollout_markdown(report, self.stage, (record.options or {}).get("scripts", []))
        return False

    async def _approve(self, by: str) -> None:
        store = await FleetStoreHook(self.fleet_conn_id).get_store()
        try:
            await store.rollouts.approve(self.rollout, self.stage, by)
        finally:
            await store.aclose()

    async def _stop(self) -> None:
        store = await FleetStoreHook(self.fleet_conn_id).get_store()
        try:
            await store.rollouts.set_status(self.rollout, "stopped", of=["running"])
        finally:
            await store.aclose()


def _name(user: Any) -> str:
    """Return who answered; a default that a time limit has chosen is nobody's answer."""
    return str(user["name"] if user else "nobody: the time to answer ran out")
