"""The DAG `tenant_healthcheck`, and its operator where a server is away."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import InvalidInputError, TenantsFailedError
from dbgear_airflow_provider.sandbox import ports

REPOSITORY = Path(__file__).resolve().parents[3]
PROJECT = """
multi_tenant:
  tenant_registry: {config: {csv: {path: tenants.csv}}}
  targets: {main: {connection_id: main}}
"""
HEADER = "tenant_id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy\n"


class Check:
    """The operator of the DAG, in a project whose server is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows = [f"T{n},顧客,c{n},jp,basic,active,2026-01-01,2026-01-01,schema\n" for n in range(3)]
        (folder / "tenants.csv").write_text(HEADER + "".join(rows) + "broken\n")
        (folder / "project.yaml").write_text(PROJECT)
        self.dag: Any = runpy.run_path(str(REPOSITORY / "dags" / "tenant_healthcheck.py"))["dag"]
        self.summary: Any = None

    def run(self, **params: Any) -> Any:
        task = self.dag.get_task("check").prepare_for_execution()
        given = {**{name: self.dag.params[name] for name in self.dag.params}, **params}

        class Ti:
            try_number, map_index = 1, -1

            @staticmethod
            def xcom_push(key: str, value: Any) -> None:
                self.summary = json.loads(json.dumps(value))

        context = {"dag": self.dag, "run_id": "run:1", "ti": Ti(), "params": given, "task": task}
        task.render_template_fields(context)
        return asyncio.run(task.aexecute(context))

    @property
    def reports(self) -> Path:
        return self.folder / "reports" / "tenant_healthcheck" / "run_1"


@pytest.fixture
def check(tmp_path: Path, connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Check:
    monkeypatch.setenv("AIRFLOW__DBGEAR__PROJECT_FILE", str(tmp_path / "project.yaml"))
    monkeypatch.setenv("AIRFLOW__DBGEAR__REPORT_DIR", (tmp_path / "reports").as_uri())
    connection("dbgear_fleet", conn_type="sqlite", host=str(tmp_path / "fleet.db"))
    connection(
        "main", conn_type="postgres", host="127.0.0.1", port=ports.any_free(), login="u", password="p", schema="d"
    )
    return Check(tmp_path)


def test_the_form_of_the_dag(check: Check) -> None:
    params = {name: check.dag.params[name] for name in check.dag.params}
    assert params == {
        "query": "status = 'active'",
        "fingerprints": False,
        "fail_on": "critical",
        "tenants_in_flight": 50,
    }
    assert check.dag.schedule.expression == "0 4 * * *"
    assert [check.dag.catchup, check.dag.max_active_runs, check.dag.is_paused_upon_creation] == [False, 1, True]


def test_tenants_of_a_dead_server_fail_the_run_after_the_report(check: Check) -> None:
    with pytest.raises(TenantsFailedError, match=r"3 unreachable; T0/main: target main: .*; report: ") as failed:
        check.run()
    assert failed.value.details["tenant_ids"] == ["T0", "T1", "T2"]
    report = json.loads((check.reports / "health_report.json").read_text())
    assert report["counts"] == {"unreachable": 3, "critical": 0, "warning": 0, "ok": 0}
    assert [item["status"] for item in report["instances"]] == ["unreachable"] * 3
    page = (check.reports / "health_report.html").read_text()
    assert "Health of 3 instances" in page
    assert "http" not in page.replace("http-equiv", "")  # it needs nothing else
    assert {name: check.summary[name] for name in ("tenants", "unreachable", "ok")} == {
        "tenants": 3,
        "unreachable": 3,
        "ok": 0,
    }


def test_a_run_that_is_not_to_fail_does_not(check: Check) -> None:
    assert check.run(fail_on="never")["unreachable"] == 3
    assert check.run(query="tenant_id = 'nobody'")["tenants"] == 0


def test_a_status_that_there_is_not(check: Check) -> None:
    with pytest.raises(
        InvalidInputError, match="fail_on: no such status.*purple.*warning, critical, unreachable, never"
    ):
        check.run(fail_on="purple")
