"""Provisioning through Airflow: the same fleet as in `provision`, by the DAG, from trigger to report."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

from dbgear_airflow_provider.sandbox import ports
from dbgear_airflow_provider.sandbox.environment import pools
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


def _measure(stack: Stack) -> None:
    airflow, client = stack.airflow, stack.airflow.client
    airflow.wait_healthy()
    client.import_pools(pools())
    airflow.wait_until(lambda: client.dag(DAG_ID), "reading the DAG", 120)
    client.unpause(DAG_ID)
    print(f"provisioning {TENANTS} schema tenants of 10 tables with an index each, through Airflow")
    for title in ("first run", "nothing left to do"):
        run_id = client.trigger(DAG_ID, {"query": "status = 'active'", "dry_run": False})
        airflow.wait_until(lambda: client.run_state(DAG_ID, run_id) in {"success", "failed"}, "the run", 1200)  # noqa: B023
        run = client.request("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}")
        tasks = [task for task in client.task_instances(DAG_ID, run_id) if task["task_id"] == "main.provision"]
        summary = client.xcom(DAG_ID, run_id, "summarize", key="summary")
        seconds = (_time(run["end_date"]) - _time(run["start_date"])).total_seconds()
        print(
            f"  {title}: {run['state']}, {summary['success']} tenants in {seconds:.1f} s = "
            f"{seconds / TENANTS * 1000:.0f} ms per tenant, {len(tasks)} mapped tasks"
        )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
