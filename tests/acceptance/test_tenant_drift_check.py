"""The DAG `tenant_drift_check` on a running Airflow: a tenant that was changed by hand is told, and repaired."""

from __future__ import annotations

import json
from typing import Any

from dbgear_airflow_provider.sandbox.environment import TENANTS_DATABASE
from dbgear_airflow_provider.sandbox.stack import Stack

DAG_ID = "tenant_drift_check"
TIMEOUT_S = 300
TENANT, SCHEMA = "T0006", "bigbob_us_main"


def run(stack: Stack, dag_id: str, **conf: Any) -> tuple[str, str]:
    """Run a DAG for the tenant; return its outcome and the name of its folder of reports."""
    client = stack.airflow.client
    client.unpause(dag_id)
    run_id = client.trigger(dag_id, {"query": f"tenant_id = '{TENANT}'", **conf})
    outcome = str(stack.airflow.wait_until(lambda: client.outcome(dag_id, run_id), run_id, TIMEOUT_S))
    return outcome, run_id.replace(":", "_")


def report(stack: Stack, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((stack.reports / DAG_ID / folder / "drift_main.json").read_text())
    return found


def test_a_tenant_that_was_changed_by_hand_is_told_and_repaired(airflow_sandbox: Stack) -> None:
    outcome, _ = run(airflow_sandbox, "tenant_provision", dry_run=False)
    assert outcome == "success"
    with airflow_sandbox.postgres.connect(TENANTS_DATABASE) as connection:
        connection.execute(f"DROP INDEX {SCHEMA}.users_idx_created_at")  # type: ignore[call-overload]

    outcome, folder = run(airflow_sandbox, DAG_ID)
    assert outcome == "failed"
    told = report(airflow_sandbox, folder)
    assert told["drifted_tenants"] == [TENANT]
    assert "index users.users_idx_created_at: missing" in told["plans"][0]["differences"]

    outcome, _ = run(airflow_sandbox, DAG_ID, repair=True)
    assert outcome == "success"
    outcome, folder = run(airflow_sandbox, DAG_ID)
    assert outcome == "success"
    assert report(airflow_sandbox, folder)["drifted_tenants"] == []
