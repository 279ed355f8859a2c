"""`DbgearSummarizeOperator`: the report of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from ..core.automation import build_report
from ..core.errors import TenantsFailedError
from ..hooks.project import open_fleet
from .base import DbgearOperator, as_bool, run_folder, run_key, write_json


class DbgearSummarizeOperator(DbgearOperator):
    """Write what became of every tenant of the run: a JSON report, a table in the log, and a red run if one failed.

    To be run last, with trigger_rule="all_done": it is this task that fails the run, for a mapped task that failed
    upstream no longer does. Returns (and, before it fails, pushes as XCom `summary`) the counts and the path of the
    report.

    list_task_ids: the tasks of `DbgearListTenantsOperator` whose tenants the run is about. operation: whose results
    are reported.
    """

    template_fields: Sequence[str] = (*DbgearOperator.template_fields, "is_dry_run")

    def __init__(
        self, *, list_task_ids: Sequence[str], operation: str, is_dry_run: bool | str = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.list_task_ids = list_task_ids
        self.operation = operation
        self.is_dry_run = is_dry_run

    async def work(self, context: Context) -> dict[str, Any]:
        """Write the report; raise when a tenant failed."""
        tenant_ids, rejected = self._selected(context["ti"])
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id) as fleet:
            records = await fleet.store.latest(run_key(context), self.operation)
        report = build_report(
            run_key(context),
            self.operation,
            tenant_ids,
            records,
            rejected,
            dry_run=as_bool(self.is_dry_run, "is_dry_run"),
        )
        path = run_folder(context) / f"{self.operation}.json"
        await write_json(path, report.document())
        self.log.info("%s\n%s\nreport: %s", report.counts(), report.table(), path)
        summary = {**report.counts(), "report": str(path)}
        context["ti"].xcom_push("summary", summary)
        report.raise_for_failures()
        return summary

    def _selected(self, ti: Any) -> tuple[list[str], list[str]]:
        """Return the ids of the selected tenants and the registry's bad records.

        Raises TenantsFailedError where a list is missing: then nobody knows what the run was about.
        """
        tenant_ids: list[str] = []
        rejected: list[str] = []
        for task_id in self.list_task_ids:
            batches = ti.xcom_pull(task_ids=task_id)
            if batches is None:
                raise TenantsFailedError(f"task {task_id} failed: which tenants the run is about is not known")
            tenant_ids += [tenant_id for batch in batches for tenant_id in batch["tenant_ids"]]
            # Every target reads the same registry.
            rejected = ti.xcom_pull(task_ids=task_id, key="rejected") or rejected
        return tenant_ids, rejected
