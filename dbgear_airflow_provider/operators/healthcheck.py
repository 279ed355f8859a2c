"""`DbgearHealthcheckOperator`: how the tenants are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from ..core.errors import InvalidInputError, TenantsFailedError
from ..core.health import HealthReport
from ..core.health.report import FAIL_ON
from ..hooks.project import open_fleet
from .base import DbgearOperator, as_bool, as_int, run_folder, run_of, write_json, write_text


class DbgearHealthcheckOperator(DbgearOperator):
    """Look at the health of the tenants that match, on all targets at once, and keep it in the fleet store.

    Writes `health_report.json` and `health_report.html` into the run's report folder, and counts, servers and the first
    tenants that are not ok into the log. Pushes the counts and the path of the report as XCom `summary`, and returns
    them. A server that is dead keeps nobody waiting: its tenants are told as unreachable.

    query: in the tenant query language. fingerprints: also compare what instances hold with their documents. fail_on:
    the least status that fails the task, after the report: `warning`, `critical`, `unreachable`, or `never`.
    tenants_in_flight: databases of a server that are looked into at once.
    """

    template_fields: Sequence[str] = (
        *DbgearOperator.template_fields,
        "query",
        "fingerprints",
        "fail_on",
        "tenants_in_flight",
    )

    def __init__(
        self,
        *,
        query: str = "status = 'active'",
        fingerprints: bool | str = False,
        fail_on: str = "critical",
        tenants_in_flight: int | str = 50,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.query = query
        self.fingerprints = fingerprints
        self.fail_on = fail_on
        self.tenants_in_flight = tenants_in_flight

    async def work(self, context: Context) -> dict[str, Any]:
        """Select, look, tell."""
        if self.fail_on not in FAIL_ON:
            raise InvalidInputError("no such status", where="fail_on", received=self.fail_on, allowed=list(FAIL_ON))
        fingerprints = as_bool(self.fingerprints, "fingerprints")
        async with open_fleet(self.project_file, fleet_conn_id=self.fleet_conn_id) as fleet:
            tenants = await fleet.registry.search_tenants(self.query)
            rejected = await fleet.registry.rejected_records()
            await fleet.connect_for(tenants)
            automation = fleet.automation(run_of(context, fleet.store))
            ids = [tenant.tenant_id for tenant in tenants]
            report = await automation.check_health(
                {"tenant_id": ids},
                fingerprints=fingerprints,
                parallel_limit=as_int(self.tenants_in_flight, "tenants_in_flight"),
            )
        for error in rejected:
            self.log.warning("left out: %s", error)
        path = run_folder(context) / "health_report.json"
        await write_json(path, report.document())
        write_text(path.parent / "health_report.html", report.html())
        level = logging.WARNING if report.sick() else logging.INFO
        self.log.log(level, "%s\nreport: %s", report.text(), path)
        summary = {"tenants": len(ids), **report.counts, "report": str(path)}
        context["ti"].xcom_push("summary", summary)
        self._raise_for(report, str(path))
        return summary

    def _raise_for(self, report: HealthReport, path: str) -> None:
        sick = report.failing(self.fail_on)
        if sick:
            told = ", ".join(f"{count} {status}" for status, count in report.counts.items() if count)
            first = [f"{item.tenant_id}/{item.instance}: {item.problems[0].text}" for item in sick[:5] if item.problems]
            ids = sorted({item.tenant_id for item in sick})
            raise TenantsFailedError(f"{told}; {'; '.join(first)}; report: {path}", tenant_ids=ids)
