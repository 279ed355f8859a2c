"""`DbgearRolloutOperator`: what a rollout is to do, and its begin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast, get_args

from airflow.sdk import Context, SkipMixin

from ..core.automation import (
    OperationStatus,
    RolloutPlan,
    RolloutRequest,
    begin_rollout,
    failure_text,
    plan_rollout,
    rehearse_rollout,
)
from ..core.automation.rollout_plan import Approval
from ..core.errors import InvalidInputError, SettingsError, TenantsFailedError
from ..hooks.project import Fleet, open_fleet
from .base import as_bool, as_int, run_folder, run_key, write_json
from .base_rollout import DbgearRolloutTaskOperator

_ACTIONS = ("deploy", "resume", "retry", "undo")


class DbgearRolloutOperator(DbgearRolloutTaskOperator, SkipMixin):
    """Plan a rollout of migrations and begin it; or go on with one, or undo one.

    Reads and lints the scripts that are pending, looks what each tenant needs, cuts the tenants into stages, writes the
    plan as `plan.json` into the run's report folder and a table into the log, then the rollout into the fleet store.
    A finding of lint that no script overrides fails it, before anything is written. Skips the groups of tasks that are
    not needed. Pushes XCom `summary`: `{rollout, action, version, tenants, stages, report}`; `rollout` is None after a
    dry run.

    query: which tenants, in the tenant query language. migrations: a folder of scripts, or one; None or empty: the
    project's. to_version: empty: the newest there is now. stages: JSON instead of the project's stages. out_of_order:
    also apply scripts that are older than the newest one applied. approval: whether a person is asked after each stage:
    `stages`, as they say, `always` or `never`. action: `deploy`; of the rollout `rollout`, which goes on with its own
    query, scripts and version: `resume` with what was not begun, `retry` what failed as well, `undo` what it has
    changed. Where the task is cleared, `deploy` is `retry`. is_dry_run is True by default: it connects and reads, and
    fails where a tenant is going to fail. rehearse: run what is pending on clones first, of one instance for each group
    that is alike, with rehearsal_rows rows of each table; a script that fails there fails the task, before anything is
    changed, and `plan.json` has it.

    stage_groups: ids of the groups of tasks of the stages, in their order. undo_group: that of the undoing.
    """

    inherits_from_skipmixin = True

    template_fields: Sequence[str] = (
        *DbgearRolloutTaskOperator.template_fields,
        "query",
        "migrations",
        "to_version",
        "stages",
        "out_of_order",
        "approval",
        "action",
        "rollout",
        "is_dry_run",
        "rehearse",
        "rehearsal_rows",
    )

    def __init__(
        self,
        *,
        stage_groups: Sequence[str],
        undo_group: str,
        query: str = "status = 'active'",
        migrations: str | None = None,
        to_version: str | None = None,
        stages: str | list[dict[str, Any]] | None = None,
        out_of_order: bool | str = False,
        approval: str = "stages",
        action: str = "deploy",
        rollout: str | None = None,
        is_dry_run: bool | str = True,
        rehearse: bool | str = False,
        rehearsal_rows: int | str = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stage_groups = stage_groups
        self.undo_group = undo_group
        self.query = query
        self.migrations = migrations
        self.to_version = to_version
        self.stages = stages
        self.out_of_order = out_of_order
        self.approval = approval
        self.action = action
        self.rollout = rollout
        self.is_dry_run = is_dry_run
        self.rehearse = rehearse
        self.rehearsal_rows = rehearsal_rows

    async def work(self, context: Context) -> None:
        """Plan, begin, and skip what is not needed."""
        dry_run = as_bool(self.is_dry_run, "is_dry_run")
        if self.action not in _ACTIONS:
            raise InvalidInputError("no such action", where="action", received=self.action, allowed=_ACTIONS)
        if (self.action == "deploy") is bool(self.rollout):
            allowed = "the id of a rollout, for resume, retry and undo"
            raise InvalidInputError("not with this action", where="rollout", received=self.rollout, allowed=allowed)
        if self.action == "undo" and as_bool(self.rehearse, "rehearse"):
            raise InvalidInputError("not with this action", where="rehearse", received=True, allowed="not for undo")
        rollout_id = self.rollout or run_key(context)
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id) as fleet:
            if self.action == "undo":
                summary = await self._undo(context, fleet, rollout_id, dry_run)
                needed = [] if dry_run else [self.undo_group]
            else:
                summary = await self._begin(context, fleet, rollout_id, dry_run)
                needed = [] if dry_run else list(self.stage_groups[: summary["stages"]])
        told = {"action": self.action, "rollout": None if dry_run else rollout_id, **summary}
        context["ti"].xcom_push("summary", told)
        groups = context["dag"].task_group_dict
        unneeded = [group for group in (*self.stage_groups, self.undo_group) if group not in needed]
        self.skip(context["ti"], [task for group in unneeded for task in groups[group].iter_tasks()])

    async def _begin(self, context: Context, fleet: Fleet, rollout_id: str, dry_run: bool) -> dict[str, Any]:
        store = fleet.store.rollouts
        there = await store.get(rollout_id) if self.action == "deploy" else await store.require(rollout_id)
        request = self._request(fleet) if there is None else RolloutRequest.resumed(there)
        tenants = await fleet.registry.search_tenants(request.query)
        for error in await fleet.registry.rejected_records():
            self.log.warning("left out: %s", error)
        await fleet.connect_for(tenants)
        engine = fleet.automation()
        plan = await plan_rollout(engine, rollout_id, tenants, request)
        path = run_folder(context) / "plan.json"
        await write_json(path, plan.document())
        self.log.info("%s\nplan: %s", plan.text(), path)
        stages = len(plan.cut.stages) if there is None else len(there.stages)
        if stages > len(self.stage_groups):
            raise SettingsError(
                "more stages than the DAG has groups of tasks for",
                where="stages",
                received=stages,
                allowed=f"up to {len(self.stage_groups)}, as the project file has",
            )
        plan.refuse_findings()
        if as_bool(self.rehearse, "rehearse"):
            plan = await rehearse_rollout(engine, plan, rows=as_int(self.rehearsal_rows, "rehearsal_rows", minimum=0))
            await write_json(path, plan.document())
            self._refuse_failed_rehearsal(plan)
        if dry_run:
            plan.refuse_failing()
        elif count := await begin_rollout(store, plan, there, retries=self.action != "resume"):
            self.log.info("%d instances that failed are tried again", count)
        return {"version": plan.version, "tenants": len(tenants), "stages": stages, "report": str(path)}

    def _refuse_failed_rehearsal(self, plan: RolloutPlan) -> None:
        if plan.rehearsal is not None:
            self.log.info("rehearsal\n%s", plan.rehearsal.text())
            plan.rehearsal.refuse_failed()

    def _request(self, fleet: Fleet) -> RolloutRequest:
        migrations = self.migrations or fleet.settings.rollout.migrations
        if migrations is None:
            raise SettingsError(
                "no scripts", where="multi_tenant.rollout.migrations", allowed="a folder, or one script"
            )
        if self.approval not in get_args(Approval):
            allowed = list(get_args(Approval))
            raise InvalidInputError("no such choice", where="approval", received=self.approval, allowed=allowed)
        return RolloutRequest(
            query=self.query,
            migrations=str(migrations),
            to=self.to_version or None,
            stages=_stages(self.stages),
            out_of_order=as_bool(self.out_of_order, "out_of_order"),
            approval=cast("Approval", self.approval),
        )

    async def _undo(self, context: Context, fleet: Fleet, rollout_id: str, dry_run: bool) -> dict[str, Any]:
        work = await self.rollout_work(context, fleet, rollout_id, keeps_results=False)
        members = await fleet.store.rollouts.to_undo(rollout_id)
        tenant_ids = sorted({member.tenant_id for member in members})
        self.log.info("rollout %s has changed %d instances of %d tenants", rollout_id, len(members), len(tenant_ids))
        path = run_folder(context) / "plan.json"
        results = []
        if dry_run:
            tenants = await fleet.registry.list_tenants({"tenant_id": tenant_ids}, limit=None)
            await fleet.connect_for(tenants)
            results = await work.undo(members, dry_run=True)
        else:
            # A rollout that goes on would do again what is being undone.
            await fleet.store.rollouts.set_status(rollout_id, "stopped", of=["running", "paused", "done"])
        instances = [
            {"tenant_id": result.tenant_id, "error": result.error, **(result.details or {})} for result in results
        ]
        await write_json(path, {"rollout": rollout_id, "tenants": tenant_ids, "instances": instances})
        failed = [(result.tenant_id, result.error) for result in results if result.status is OperationStatus.ERROR]
        if failed:
            raise TenantsFailedError(f"cannot be undone: {failure_text(failed, len(results))}")
        return {"version": work.record.version, "tenants": len(tenant_ids), "stages": 0, "report": str(path)}


def _stages(value: str | list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Return the stages of a parameter; None or empty: those of the project. Raises InvalidInputError."""
    if not value:
        return None
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError as error:
        raise InvalidInputError("no JSON", where="stages", received=value, allowed=str(error)) from None
    if found is None or found == []:
        return None
    if not isinstance(found, list):
        raise InvalidInputError("no list", where="stages", received=value, allowed="as in the project file, in JSON")
    return found
