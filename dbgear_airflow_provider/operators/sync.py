"""`DbgearSyncOperator`: the registry as its sources say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from airflow.sdk import Asset, AssetAlias, Context, ObjectStoragePath

from ..core.automation import SyncPlan, apply_sync
from ..core.errors import SyncRefusedError
from ..core.tenants import Status
from ..hooks.project import open_fleet
from ..hooks.sync import plan_registry_sync
from .base import DbgearOperator, as_bool, as_list, run_folder, run_key, run_of, write_json

TENANTS = Asset(name="dbgear_tenants", uri="dbgear://registry/tenants")
# A task with an asset as outlet tells of it whenever it succeeds; with an alias, when it says so.
TENANTS_CHANGED = AssetAlias("dbgear_tenants_changed")

_FOLLOWED: tuple[Status, ...] = ("active", "suspended", "terminated")
_NAMED_IDS = 1000
_TOLD = 100  # bad records and tenants that the log names


class DbgearSyncOperator(DbgearOperator):
    """Bring the registry to what its sources say.

    Writes the exact differences into `sync.json` of the run's report folder, and a table of them into the log.
    Returns `{added, changed, terminated, unchanged, kept, rejected, dry_run, became, report}`: counts; of those that
    became active, suspended and terminated also the first 1,000 ids; and the path of the report. Fails at once where a
    guard refuses, after the report is written. Records an event of the asset `dbgear_tenants` when it changed the
    registry. Safe to repeat: a second sync changes nothing.

    sources: names of sources of the project file; none: all of the sync. is_dry_run: True by default, compare and
    write nothing. force: go on where a guard would refuse, save for a source that is empty.
    """

    template_fields: Sequence[str] = (*DbgearOperator.template_fields, "sources", "is_dry_run", "force")

    def __init__(
        self,
        *,
        sources: Sequence[str] | str = (),
        is_dry_run: bool | str = True,
        force: bool | str = False,
        **kwargs: Any,
    ) -> None:
        kwargs["outlets"] = [*(kwargs.get("outlets") or ()), TENANTS_CHANGED]
        super().__init__(**kwargs)
        self.sources = sources
        self.is_dry_run = is_dry_run
        self.force = force

    async def work(self, context: Context) -> dict[str, Any]:
        """Plan, tell, apply."""
        dry_run, force = as_bool(self.is_dry_run, "is_dry_run"), as_bool(self.force, "force")
        report = _Report(run_folder(context) / "sync.json", {"run_id": run_key(context), "force": force})
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id) as fleet:
            plan = await plan_registry_sync(fleet, as_list(self.sources, "sources"))
            self._tell_plan(plan, force=force)
            try:
                plan.check(force=force)
            except SyncRefusedError as refusal:
                await report.write(plan, "refused")
                hint = "; force would go on" if refusal.details["forceable"] else ""
                self.log.error("refused, nothing is written%s; report: %s", hint, report.path)
                context["ti"].xcom_push("summary", _summary(plan, report, dry_run=dry_run))
                raise
            if dry_run:
                await report.write(plan, "planned")
                self.log.info("a dry run, nothing is written; report: %s", report.path)
                return _summary(plan, report, dry_run=True)
            # Before the registry is written: a retry of a task that dies right after it finds no difference any more.
            await report.write(plan, "applying", earlier := await report.earlier())
            await apply_sync(fleet.registry, plan, force=force, run=run_of(context, fleet.store))
            await fleet.keep_tenants()
            await report.write(plan, "applied", earlier)
            self.log.info("%s; report: %s", "written" if plan else "nothing to write", report.path)
        if plan or earlier:
            counts = plan.counts() if plan else earlier["counts"]
            extra = {name: counts[name] for name in ("added", "changed", "terminated")}
            context["outlet_events"][TENANTS_CHANGED].add(TENANTS, extra=extra)
        return _summary(plan, report, dry_run=False)

    def _tell_plan(self, plan: SyncPlan, *, force: bool) -> None:
        for name, counts in plan.sources.items():
            self.log.info("source %s: %d tenants, %d bad records", name, counts.records, counts.rejected)
        if plan.unread:
            self.log.info("not asked: %s", ", ".join(plan.unread))
        for error in plan.rejected[:_TOLD]:
            self.log.warning("left out: %s", error)
        if len(plan.rejected) > _TOLD:
            self.log.warning("left out: %d more, all of them in the report", len(plan.rejected) - _TOLD)
        for tenant_id, why in islice(plan.kept.items(), _TOLD):
            self.log.warning("tenant %s stays as it is: %s", tenant_id, why)
        for refusal in plan.refusals:
            if force and refusal.details["forceable"]:
                self.log.warning("overruled by force: %s", refusal)
            else:
                self.log.error("%s", refusal)
        self.log.info("%s\n%s", plan.counts(), plan.table() if plan else "nothing to change")


class _Report:
    """The file `sync.json` of a run. state: `planned` (a dry run), `refused`, `applying`, `applied`."""

    def __init__(self, path: ObjectStoragePath, head: Mapping[str, Any]) -> None:
        self.path = path
        self._head = head

    async def earlier(self) -> dict[str, Any]:
        """Return the report of an earlier attempt of the same run that has written, or may have; {}: there is none."""
        try:
            report: dict[str, Any] = json.loads(await asyncio.to_thread(self.path.read_text, encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return report if report["state"] in ("applying", "applied") else {}

    async def write(self, plan: SyncPlan, state: str, earlier: Mapping[str, Any] | None = None) -> None:
        """Write the plan and what has become of it."""
        before = (earlier or {}).get("became", {})
        document = {
            **self._head,
            "state": state,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **plan.document(),
            "became": {status: sorted({*plan.became(status), *before.get(status, ())}) for status in _FOLLOWED},
        }
        await write_json(self.path, document)


def _summary(plan: SyncPlan, report: _Report, *, dry_run: bool) -> dict[str, Any]:
    became = {status: plan.became(status) for status in _FOLLOWED}
    return {
        **plan.counts(),
        "dry_run": dry_run,
        "became": {
            status: {"count": len(tenant_ids), "tenant_ids": tenant_ids[:_NAMED_IDS]}
            for status, tenant_ids in became.items()
        },
        "report": str(report.path),
    }
