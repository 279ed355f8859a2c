"""Through Airflow, by the DAGs, from trigger to report: provisioning the fleet of `provision`, and migrating one."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from dbgear_airflow_provider.sandbox import ports
from dbgear_airflow_provider.sandbox.environment import pools
from dbgear_airflow_provider.sandbox.postgres import PostgresServer
from dbgear_airflow_provider.sandbox.stack import Stack

from .fleets import write_project

TENANTS = 500
DAG_ID = "tenant_provision"


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="dbgear-bench-") as name:
        folder = Path(name)
        project = write_project(folder, TENANTS)
        with Stack(folder / "sandbox", port=ports.any_free(), project=project) as stack:
            _measure(stack)


def migrate_by_airflow(folder: Path, server: PostgresServer, database: str, tenants: int) -> float:
    """Run the scripts of `folder / "migrations"` in a fleet that is there, in one stage; return the seconds.

    After a dry run, as one does it: what Airflow's processes do once is not measured.
    """
    # A task that begins costs as much as hundreds of tenants: no more of them than run at once.
    project = write_project(folder, tenants, connection_id="dbgear_benchmark", max_mapped_tasks=4)
    with Stack(folder / "sandbox", port=ports.any_free(), project=project) as stack:
        dag_id = "tenant_deploy_schema"
        _make_ready(stack, dag_id)
        connection = {
            "connection_id": "dbgear_benchmark",
            "conn_type": "postgres",
            "host": server.host,
            "port": server.port,
            "login": server.user,
            "password": server.password,
            "schema": database,
        }
        stack.airflow.client.request("POST", "/connections", json=connection)
        conf = {
            "query": "status = 'active'",
            "migration": str(folder / "migrations"),
            "approval": "never",
            "stages": '[{"name": "all"}]',
        }
        _run(stack, dag_id, {**conf, "dry_run": True})
        return _run(stack, dag_id, {**conf, "dry_run": False})[1]


def _measure(stack: Stack) -> None:
    client = stack.airflow.client
    _make_ready(stack, DAG_ID)
    print(f"provisioning {TENANTS} schema tenants of 10 tables with an index each, through Airflow")
    for title in ("first run", "nothing left to do"):
        run_id, seconds = _run(stack, DAG_ID, {"query": "status = 'active'", "dry_run": False})
        tasks = [task for task in client.task_instances(DAG_ID, run_id) if task["task_id"] == "main.provision"]
        summary = client.xcom(DAG_ID, run_id, "summarize", key="summary")
        print(
            f"  {title}: {summary['success']} tenants in {seconds:.1f} s = "
            f"{seconds / TENANTS * 1000:.0f} ms per tenant, {len(tasks)} mapped tasks"
        )


def _make_ready(stack: Stack, dag_id: str) -> None:
    airflow, client = stack.airflow, stack.airflow.client
    airflow.wait_healthy()
    client.import_pools(pools())
    airflow.wait_until(lambda: client.dag(dag_id), "reading the DAG", 120)
    client.unpause(dag_id)


def _run(stack: Stack, dag_id: str, conf: dict[str, Any]) -> tuple[str, float]:
    """Return the id of a run that has succeeded, and its seconds."""
    airflow, client = stack.airflow, stack.airflow.client
    run_id = client.trigger(dag_id, conf)
    airflow.wait_until(lambda: client.run_state(dag_id, run_id) in {"success", "failed"}, "the run", 1200)
    run = client.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
    if run["state"] != "success":
        raise RuntimeError(f"{dag_id}: the run has failed; its logs were in {stack.logs}")
    return run_id, (_time(run["end_date"]) - _time(run["start_date"])).total_seconds()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
