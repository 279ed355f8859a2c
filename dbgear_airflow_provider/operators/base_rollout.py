"""What the operators of a rollout share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from airflow.sdk import Context, ObjectStoragePath

from ..core.automation import RolloutWork, rollout_table
from ..core.fleet import RolloutMember
from ..core.rollout import RolloutReport, Verdict, build_report
from ..hooks.project import Fleet
from ..hooks.rollout import rollout_work
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
        run = run_of(context, fleet.store) if keeps_results else None
        return await rollout_work(fleet, rollout_id, run=run, tell=self._tell, in_flight=in_flight)

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
