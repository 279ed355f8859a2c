from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from dbgear_airflow_provider.core.tenants import TenantInfo
from dbgear_airflow_provider.sandbox import report
from dbgear_airflow_provider.sandbox.progress import Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def tenant(tenant_id: str, name: str) -> TenantInfo:
    return TenantInfo(
        tenant_id=tenant_id,
        customer_name=name,
        customer_code="acme",
        region="us",
        tier="basic",
        status="active",
        created_at=NOW,
        updated_at=NOW,
        isolation_strategy="schema",
    )


def outcome(tenant_id: str, error: str | None = None, created: int = 1) -> Outcome:
    status = "error" if error else "success"
    return Outcome(id=1, tenant_id=tenant_id, status=status, duration_s=0.25, error=error, details={"created": created})


def shown(renderable: object, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(renderable)
    return out.getvalue()


def test_a_line_tells_tenant_outcome_and_seconds() -> None:
    line = shown(report.outcome_line(outcome("T1"), tenant("T1", "[red]Big\nBob[/]")))
    assert line == "✔ T1  [red]Big Bob[/]  provisioned, 0.2 s\n"
    assert "✔ T1    unchanged" in shown(report.outcome_line(outcome("T1", created=0), None))
    assert "✘ T1    no room" in shown(report.outcome_line(outcome("T1", "no\nroom"), None))


def test_the_table_believes_the_server_and_not_the_outcome() -> None:
    tenants = [tenant("T1", "甲"), tenant("T2", "乙"), tenant("T3", "丙"), tenant("T4", "丁")]
    outcomes = {"T1": outcome("T1"), "T2": outcome("T2"), "T3": outcome("T3", "disk full")}
    problems = {"T2": ["t.a: no tables", "t.b: no tables"], "T3": ["t.c: no tables"]}
    rows = [line for line in shown(report.results(tenants, outcomes, problems, width=100)).splitlines() if "T" in line]
    assert "✔ provisioned" in rows[0]
    assert "✘ not there" in rows[1]
    assert "✘ not there" in rows[2]
    assert "✔ there" in rows[3]
    told = shown(report.missing_tenants(outcomes, problems))
    assert told == "✘ T2: t.a: no tables (and 1 more)\n✘ T3: disk full\n"


def test_each_tenant_is_a_line_on_a_narrow_terminal() -> None:
    table = report.results(
        [tenant("T1", "A Very Long Customer Name Indeed, Ltd.")], {"T1": outcome("T1")}, {}, width=80
    )
    rows = [line for line in shown(table, width=80).splitlines() if line.strip()]
    assert len(rows) == 3  # names, rule, tenant
    assert "A Very Lo…" in rows[2]
    assert "✔ provisioned" in rows[2]


def test_failed_tasks_are_named_with_their_logs() -> None:
    tasks = [
        {
            "dag_id": "d",
            "dag_run_id": "r",
            "task_id": "t",
            "map_index": index,
            "rendered_map_index": f"T{index}",
            "try_number": 2,
            "state": state,
        }
        for index, state in enumerate(["success", *["failed"] * 7])
    ]
    lines = report.failed_tasks(tasks, Path("/logs")).splitlines()
    assert len(lines) == 6
    assert "task t [T1]: /logs/dag_id=d/run_id=r/task_id=t/map_index=1/attempt=2.log" in lines[0]
    assert "and 2 more" in lines[5]
