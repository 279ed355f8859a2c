"""What the operators of a rollout share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from airflow.sdk import Context, ObjectStoragePath

from ..core.automation import OperationResult, RolloutWork, TenantAutomationEngine, rollout_table
from ..core.errors import SettingsError
from ..core.fleet import RolloutMember
from ..core.rollout import RolloutReport, Verdict, build_report
from ..core.settings import MultiTenantSettings
from ..core.tenants import TenantInfo
from ..hooks.project import Fleet
from .base import DbgearOperator, run_folder, run_of, write_json, write_text

REPORT = "rollout"  # name of the files, without what stands behind the dot


class DbgearRolloutTaskOperator(DbgearOperator):
    """Base of the operators that do a part of a rollout. Its classes take `rollout`, the id in the fleet store."""

    async def rollout_work(
        self,
        context: Context,
        fleet: Fleet,
        rollout_id: str,
        *,
        in_flight: int | None = None,
        keeps_results: bool = True,
    ) -> RolloutWork:
        """Return what can be done to the rollout. Raises InvalidInputError where there is none of that id."""
        record = await fleet.store.rollouts.require(rollout_id)

        def open_engine(
            on_result: Callable[[OperationResult], None] = lambda _: None,
            before_tenant: Callable[[str], Awaitable[None]] | None = None,
        ) -> TenantAutomationEngine:
            def tell(result: OperationResult) -> None:
                self._tell(result)
                on_result(result)

            # Since now: the store of rollouts knows what is done, and one tenant may come twice in a run.
            run = run_of(context, fleet.store, since=datetime.now(UTC)) if keeps_results else None
            return fleet.automation(run, tell, before_tenant)

        return RolloutWork(
            store=fleet.store,
            record=record,
            settings=fleet.settings.rollout,
            open_engine=open_engine,
            in_flight=in_flight,
        )

    async def write_report(
        self, context: Context, work: RolloutWork, members: Sequence[RolloutMember], verdict: Verdict | None = None
    ) -> tuple[RolloutReport, ObjectStoragePath]:
        """Write the report, as JSON and as a page, and log its table; return it and where the JSON is."""
        report = build_report(work.record, members, now=datetime.now(UTC), verdict=verdict)
        path = run_folder(context) / f"{REPORT}.json"
        await write_json(path, report.document())
        write_text(path.parent / f"{REPORT}.html", report.html())
        self.log.info("%s\nreport: %s", rollout_table(report), path)
        return report, path


def targets_of(tenants: Sequence[TenantInfo], settings: MultiTenantSettings) -> list[str]:
    """Return the targets that tenants live on; a tenant that no rule places is told of by its own operation."""
    targets = set()
    for tenant in tenants:
        try:
            targets.add(settings.target_of(tenant))
        except SettingsError:
            continue
    return sorted(targets)
