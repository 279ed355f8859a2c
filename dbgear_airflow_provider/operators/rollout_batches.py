"""`DbgearRolloutBatchesOperator`: the tenants of a stage that live on one target, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import Context

from ..core.automation import cut_batches
from ..core.errors import SettingsError
from ..hooks.project import open_fleet
from .base_rollout import DbgearRolloutTaskOperator


class DbgearRolloutBatchesOperator(DbgearRolloutTaskOperator):
    """Cut what is to be done in a stage, on one target, into batches to map over.

    Returns `[{index, target, tenant_ids, selected_at}]`, [] where nothing is to be done there.

    rollout: its id in the fleet store. target: name of a target. stage: index of the stage; None: the instances that
    the rollout has changed, to be undone.
    """

    template_fields: Sequence[str] = (*DbgearRolloutTaskOperator.template_fields, "rollout", "target")

    def __init__(self, *, rollout: str, target: str, stage: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rollout = rollout
        self.target = target
        self.stage = stage

    async def work(self, context: Context) -> list[dict[str, Any]]:
        """Select and cut."""
        selected_at = datetime.now(UTC)
        # Of those to be undone the ledgers are asked what a killed task did not record.
        targets = [self.target] if self.stage is None else []
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id, targets=targets) as fleet:
            work = await self.rollout_work(context, fleet, self.rollout, keeps_results=False)
            members = await (work.to_undo() if self.stage is None else work.to_do(self.stage))
            ids = sorted({member.tenant_id for member in members})
            here = []
            for tenant in await fleet.registry.list_tenants({"tenant_id": ids}, limit=None) if ids else []:
                with suppress(SettingsError):  # it stays pending, and the gate tells it
                    if fleet.settings.target_of(tenant) == self.target:
                        here.append(tenant.tenant_id)
            max_batches = fleet.settings.automation.max_mapped_tasks
        batches = cut_batches(here, target=self.target, max_batches=max_batches, selected_at=selected_at)
        self.log.info("%d tenants on target %s in %d batches", len(here), self.target, len(batches))
        return batches
