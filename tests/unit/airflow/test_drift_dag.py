"""The DAG `tenant_drift_check`, parsed as Airflow does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
PROJECT = """\
multi_tenant:
  tenant_registry: {config: {csv: {path: tenants.csv}}}
  targets: {main: {connection_id: main}, other: {connection_id: other}}
"""
DAG = """
import json, runpy, sys
import airflow.sdk
dag = runpy.run_path(sys.argv[1])["dag"]
check, repair = dag.get_task("main.check"), dag.get_task("main.repair")
print(json.dumps({
    "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    "params": {name: [dag.params.get_param(name).schema["type"], dag.params[name]] for name in dag.params},
    "schedule": dag.schedule.expression,
    "once": [dag.catchup, dag.max_active_runs, dag.is_paused_upon_creation],
    "pools": [check.pool, repair.pool],
    "repair": repair.partial_kwargs["is_dry_run"],
}))
"""


def test_the_dag_looks_every_night_and_repairs_only_when_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text(PROJECT)
    result = subprocess.run(
        [sys.executable, "-c", DAG, str(REPOSITORY / "dags" / "tenant_drift_check.py")],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "AIRFLOW__DBGEAR__PROJECT_FILE": str(tmp_path / "project.yaml")},
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "tasks": {
            "main.check": ["main.repair"],
            "main.repair": [],
            "other.check": ["other.repair"],
            "other.repair": [],
        },
        "params": {
            "query": ["string", "status = 'active'"],
            "isolation": ["array", []],
            "repair": ["boolean", False],
            "allow_destructive": ["boolean", False],
        },
        "schedule": "0 3 * * *",
        "once": [False, 1, True],
        "pools": ["dbgear_main", "dbgear_main"],
        "repair": False,
    }
