"""The DAG `tenant_sync` on a running Airflow: from the sample's CRM export into the registry in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from dbgear_airflow_provider.sandbox.environment import FLEET_DATABASE, REGISTRY_DATABASE, TENANTS_DATABASE
from dbgear_airflow_provider.sandbox.stack import Stack

DAG_ID = "tenant_sync"
TIMEOUT_S = 300
NEW, CHANGED, SUSPENDED = "T0038", "T0012", "T0043"


class Sync:
    """Runs of the DAG, and the registry that they write."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = stack.airflow.client

    def run(self, dag_id: str = DAG_ID, **conf: Any) -> str:
        run_id = self.client.trigger(dag_id, conf)
        assert self.wait(dag_id, run_id) == "success"
        return run_id

    def wait(self, dag_id: str, run_id: str) -> str:
        return str(self.stack.airflow.wait_until(lambda: self.client.outcome(dag_id, run_id), run_id, TIMEOUT_S))

    def report(self, run_id: str) -> dict[str, Any]:
        (path,) = (self.stack.reports / DAG_ID).glob(f"{run_id.replace(':', '_')}/sync.json")
        report: dict[str, Any] = json.loads(path.read_text())
        return report

    def states(self, run_id: str) -> dict[str, str]:
        return {task["task_id"]: task["state"] for task in self.client.task_instances(DAG_ID, run_id)}

    def events(self) -> list[dict[str, Any]]:
        events = self.client.request("GET", "/assets/events", params={"order_by": "timestamp"})["asset_events"]
        return [event for event in events if event["name"] == "dbgear_tenants"]

    def query(self, sql: str, database: str = REGISTRY_DATABASE) -> list[tuple[Any, ...]]:
        with self.stack.postgres.connect(database) as connection:
            cursor = connection.execute(sql)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def sync(airflow_sandbox: Stack) -> Sync:
    airflow_sandbox.airflow.client.unpause("tenant_provision")
    return Sync(airflow_sandbox)


def test_the_first_sync_brought_all_good_tenants_with_their_settings(sync: Sync) -> None:
    assert sync.query("SELECT count(*) FROM tenants") == [(44,)]
    assert sync.query("SELECT customer_name FROM tenants WHERE tenant_id = 'T0007'") == [("東京製作所",)]
    assert sync.query("SELECT count(*) > 0 FROM tenant_configs") == [(True,)]
    assert sync.events()[0]["extra"] == {"added": 44, "changed": 0, "terminated": 0}


def test_a_dry_run_tells_the_exact_differences_and_changes_nothing(sync: Sync) -> None:
    sync.query(f"UPDATE tenants SET tier = 'basic' WHERE tenant_id = '{CHANGED}'")
    before = sync.query("SELECT * FROM tenants ORDER BY tenant_id")
    events = sync.events()
    report = sync.report(sync.run(dry_run=True))
    assert report["state"] == "planned"
    assert report["counts"]["changed"] == 1
    (change,) = report["changed"]
    assert change["tenant_id"] == CHANGED
    assert change["fields"]["tier"] == {"old": "basic", "new": "standard"}
    assert len(report["rejected"]) == 2
    assert "row 17, column tier: no such tier; received 'gold'" in report["rejected"][0]
    assert sync.query("SELECT * FROM tenants ORDER BY tenant_id") == before
    assert sync.events() == events


@pytest.fixture
def app_role(sync: Sync) -> Iterator[str]:
    """A role that an application of the suspended tenant logs in by."""
    sync.query("CREATE ROLE unpaid_app LOGIN PASSWORD 'app'", TENANTS_DATABASE)
    yield "unpaid_app"
    sync.query("DROP OWNED BY unpaid_app", TENANTS_DATABASE)
    sync.query("DROP ROLE unpaid_app", TENANTS_DATABASE)


def test_new_tenants_are_provisioned_and_suspended_ones_lose_access(sync: Sync, app_role: str) -> None:
    # The registry as it was: one tenant not known yet, another one in good standing, with an application.
    sync.query(f"UPDATE tenants SET status = 'active' WHERE tenant_id = '{SUSPENDED}'")
    sync.run("tenant_provision", query=f"tenant_id = '{SUSPENDED}'", dry_run=False)
    sync.query(f"GRANT USAGE ON SCHEMA unpaid_us_main TO {app_role}", TENANTS_DATABASE)
    sync.query(f"GRANT SELECT ON ALL TABLES IN SCHEMA unpaid_us_main TO {app_role}", TENANTS_DATABASE)
    server = sync.stack.postgres
    parameters = {"host": server.host, "port": server.port, "user": app_role, "password": "app"}
    with psycopg.connect(dbname=TENANTS_DATABASE, autocommit=True, **parameters) as application:  # type: ignore[arg-type]
        application.execute("SELECT FROM unpaid_us_main.users")
        sync.query(f"DELETE FROM tenants WHERE tenant_id = '{NEW}'")

        run_id = sync.run(dry_run=False, provision_new=True, revoke_suspended=True)

        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            application.execute("SELECT FROM unpaid_us_main.users")
    report = sync.report(run_id)
    assert report["state"] == "applied"
    assert report["became"] == {"active": [NEW], "suspended": [SUSPENDED], "terminated": []}
    assert sync.states(run_id)["revoke_suspended"] == "success"
    assert sync.events()[-1]["extra"]["added"] == 1
    assert sync.query(f"SELECT status FROM tenants WHERE tenant_id = '{SUSPENDED}'") == [("suspended",)]

    (triggered,) = [
        run
        for run in sync.client.request("GET", "/dags/tenant_provision/dagRuns", params={"limit": 100})["dag_runs"]
        if NEW in run["conf"].get("query", "")
    ]
    assert sync.wait("tenant_provision", triggered["dag_run_id"]) == "success"
    provisioned = f"SELECT status FROM dbgear_operations WHERE operation = 'provision' AND tenant_id = '{NEW}'"
    assert sync.query(f"{provisioned} AND run_id LIKE '%{triggered['dag_run_id']}'", FLEET_DATABASE) == [("success",)]


def test_a_second_sync_finds_nothing_to_do(sync: Sync) -> None:
    events = sync.events()
    run_id = sync.run(dry_run=False)
    counts = sync.report(run_id)["counts"]
    assert (counts["added"], counts["changed"], counts["terminated"]) == (0, 0, 0)
    assert sync.states(run_id)["provision_new"] in {"skipped", "upstream_failed", "removed"}
    assert sync.events() == events
