"""The DAG `tenant_provision` on a running Airflow with the sample fleet."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from dbgear_airflow_provider.core import CSVTenantProvider
from dbgear_airflow_provider.sandbox.environment import (
    FLEET_DATABASE,
    REGISTRY_CSV,
    TENANTS_DATABASE,
    pools,
    process_environment,
)
from dbgear_airflow_provider.sandbox.stack import Stack

DAG_ID = "tenant_provision"
RUN_TIMEOUT_S = 400
SUBSET = "tier IN ('premium', 'enterprise') AND status = 'active'"


class Provisioning:
    """Runs of the DAG, and what they left."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = stack.airflow.client

    def start(self, query: str, **params: Any) -> str:
        return self.client.trigger(DAG_ID, {"query": query, "dry_run": False, **params})

    def wait(self, run_id: str) -> str:
        outcome = self.stack.airflow.wait_until(
            lambda: self.client.outcome(DAG_ID, run_id), f"the run {run_id}", RUN_TIMEOUT_S
        )
        return str(outcome)

    def run(self, query: str, **params: Any) -> tuple[str, str]:
        run_id = self.start(query, **params)
        return run_id, self.wait(run_id)

    def tasks(self, run_id: str) -> dict[str, str]:
        """Return {name in the Grid: state} of the mapped tasks."""
        return {
            str(task["rendered_map_index"]): task["state"]
            for task in self.client.task_instances(DAG_ID, run_id)
            if task["task_id"] == "main.provision"
        }

    def history(self, run_id: str) -> dict[str, list[str]]:
        """Return {tenant_id: what its operations came to, the oldest first}."""
        rows = self.query(
            f"SELECT tenant_id, status FROM dbgear_operations WHERE run_id = '{DAG_ID}/{run_id}' ORDER BY id",
            FLEET_DATABASE,
        )
        found: dict[str, list[str]] = {}
        for tenant_id, status in rows:
            found.setdefault(tenant_id, []).append(status)
        return found

    def report(self, run_id: str) -> dict[str, Any]:
        (path,) = (self.stack.reports / DAG_ID).glob(f"{run_id.replace(':', '_')}/provision.json")
        report: dict[str, Any] = json.loads(path.read_text())
        return report

    def log(self, run_id: str, task_id: str, try_number: int = 1) -> str:
        answer = self.client.request(
            "GET", f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        )
        return json.dumps(answer, ensure_ascii=False)

    def schemas(self) -> set[str]:
        return {row[0] for row in self.query("SELECT nspname FROM pg_namespace")}

    def query(self, sql: str, database: str = TENANTS_DATABASE) -> list[tuple[Any, ...]]:
        with self.stack.postgres.connect(database) as connection:
            cursor = connection.execute(sql)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def provisioning(airflow_sandbox: Stack) -> Provisioning:
    airflow_sandbox.airflow.wait_until(lambda: airflow_sandbox.airflow.client.dag(DAG_ID), "reading the DAG", 120)
    airflow_sandbox.airflow.client.unpause(DAG_ID)
    return Provisioning(airflow_sandbox)


@pytest.fixture
def slow(provisioning: Provisioning) -> Iterator[Callable[[str], None]]:
    """Make the server sleep in the middle of a schema's DDL."""

    def sleep_in(schema: str) -> None:
        provisioning.query(
            f"""
            CREATE FUNCTION public.slow() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands()
                            WHERE schema_name = '{schema}' AND object_identity LIKE '%.roles') THEN
                    PERFORM pg_sleep(600);
                END IF;
            END $$
            """
        )
        provisioning.query(
            "CREATE EVENT TRIGGER slow ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION slow()"
        )

    yield sleep_in
    provisioning.query("DROP EVENT TRIGGER IF EXISTS slow")
    provisioning.query("DROP FUNCTION IF EXISTS public.slow")


def test_a_dry_run_tells_the_statements_and_changes_nothing(provisioning: Provisioning) -> None:
    before = provisioning.schemas()
    run_id, state = provisioning.run("tenant_id = 'T0002'", dry_run=True)
    assert state == "success"
    assert provisioning.schemas() == before
    (tenant,) = provisioning.report(run_id)["tenants"]
    statements = tenant["details"]["instances"]["test"]["statements"]
    assert any(statement.startswith('CREATE ROLE "hoshino_japan_login" LOGIN') for statement in statements)
    assert not any("SCRAM" in statement for statement in statements)
    assert "CREATE SCHEMA hoshino_japan_test" in statements
    assert any(statement.startswith("CREATE TABLE hoshino_japan_test.users") for statement in statements)


def test_a_subset_by_the_command_line(provisioning: Provisioning) -> None:
    conf = {"query": SUBSET, "dry_run": False}
    command = f". {provisioning.stack.shell_settings} && exec airflow dags trigger {DAG_ID} -o json --conf '{{}}'"
    command = command.replace("'{}'", '"$CONF"')
    result = subprocess.run(
        ["/bin/sh", "-c", command],
        check=False,
        env={**process_environment({}), "CONF": json.dumps(conf)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    run_id = json.loads(result.stdout[result.stdout.index("[{") :])[0]["dag_run_id"]
    assert provisioning.wait(run_id) == "success"
    wanted = asyncio.run(CSVTenantProvider(str(REGISTRY_CSV)).search_tenants(SUBSET))
    assert {tenant.tier for tenant in wanted} == {"premium", "enterprise"}
    assert provisioning.history(run_id) == {tenant.tenant_id: ["success"] for tenant in wanted}
    count = len(wanted)
    report = provisioning.report(run_id)
    assert report["counts"] == {"tenants": count, "success": count, "error": 0, "missing": 0, "rejected": 0}
    tasks = provisioning.tasks(run_id)
    assert "T0002 株式会社ホシノ" in tasks
    assert set(tasks.values()) == {"success"}
    assert {"hoshino_japan_main", "hoshino_japan_test"} <= provisioning.schemas()
    assert "cafezoe_europe_main" not in provisioning.schemas()  # a basic tenant, not asked for
    rendered = provisioning.stack.reports / DAG_ID / run_id.replace(":", "_") / "rendered" / "T0002.yaml"
    assert "customer_name: 株式会社ホシノ" in rendered.read_text()


def test_one_broken_tenant_fails_the_run_and_only_it_is_done_again(provisioning: Provisioning) -> None:
    provisioning.query("CREATE SCHEMA sakura_japan_main CREATE TABLE someone_elses (id int)")
    query = "tier = 'standard' AND region = 'japan' AND status = 'active'"
    run_id, state = provisioning.run(query)
    assert state == "failed"
    states = provisioning.tasks(run_id)
    assert {name for name, task in states.items() if task == "failed"} == {"T0012 サクラ物流株式会社"}
    assert len(states) > 1
    report = provisioning.report(run_id)
    assert report["counts"]["error"] == 1
    assert report["errors"] == {"OwnershipError": 1}
    log = provisioning.log(run_id, "summarize")
    assert "1 of " in log
    assert "T0012: tenants.sakura_japan_main on target main holds objects that were not made by DBGear" in log
    first = provisioning.history(run_id)
    assert first.pop("T0012") == ["error"]
    assert set(map(tuple, first.values())) == {("success",)}

    provisioning.query("DROP SCHEMA sakura_japan_main CASCADE")
    provisioning.client.clear(DAG_ID, run_id)
    assert provisioning.wait(run_id) == "success"
    assert provisioning.history(run_id) == {**first, "T0012": ["error", "success"]}
    assert provisioning.report(run_id)["counts"]["error"] == 0
    assert "sakura_japan_main" in provisioning.schemas()


def test_a_killed_worker_leaves_nothing_half_done_and_the_retry_finishes(
    provisioning: Provisioning, slow: Callable[[str], None]
) -> None:
    slow("cafezoe_europe_main")
    run_id = provisioning.start("tenant_id IN ('T0005', 'T0006')")
    ports = provisioning.stack.airflow.wait_until(
        lambda: provisioning.query("SELECT client_port FROM pg_stat_activity WHERE wait_event = 'PgSleep'"),
        "the tenant's DDL",
        120,
    )
    task = process_with_port(ports[0][0])
    worker = task.parent()
    assert worker is not None
    for process in (worker, task):
        os.kill(process.pid, signal.SIGKILL)
    provisioning.stack.airflow.wait_until(
        lambda: (
            not provisioning.query("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            or provisioning.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        ),
        "the end of the session",
        60,
    )
    assert "cafezoe_europe_main" not in provisioning.schemas()
    provisioning.query("DROP EVENT TRIGGER slow")

    assert provisioning.wait(run_id) == "success"
    assert "cafezoe_europe_main" in provisioning.schemas()
    tables = provisioning.query("SELECT count(*) FROM pg_tables WHERE schemaname = 'cafezoe_europe_main'")
    expected = provisioning.query("SELECT count(*) FROM pg_tables WHERE schemaname = 'hoshino_japan_main'")
    assert tables == expected
    assert provisioning.history(run_id)["T0006"] == ["success"]
    assert provisioning.history(run_id)["T0005"][-1] == "success"


def test_a_wrong_query_is_told_where_it_is_wrong(provisioning: Provisioning) -> None:
    run_id, state = provisioning.run("tier = 'premium' AND colour = 'red'")
    assert state == "failed"
    log = provisioning.log(run_id, "main.list_tenants")
    assert "query, column 22" in log
    assert "colour" in log
    assert "isolation_strategy" in log  # a field that exists
    tries = [
        task["try_number"]
        for task in provisioning.client.task_instances(DAG_ID, run_id)
        if task["task_id"] == "main.list_tenants"
    ]
    assert tries == [1]  # a retry would not change it


@pytest.mark.parametrize(
    ("slots", "told"),
    [(None, "There is no pool dbgear_main"), (1, "Pool dbgear_main has 1 slots; one task takes 2")],
)
def test_a_pool_that_would_never_let_a_task_in_fails_the_run_at_its_start(
    provisioning: Provisioning, slots: int | None, told: str
) -> None:
    if slots is None:
        provisioning.client.delete_pool("dbgear_main")
    else:
        provisioning.client.import_pools({"dbgear_main": {**pools()["dbgear_main"], "slots": slots}})
    try:
        run_id, state = provisioning.run("tenant_id = 'T0002'")
        assert state == "failed"
        note = provisioning.client.request("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}")["note"]
        assert told in note
        states = {task["state"] for task in provisioning.client.task_instances(DAG_ID, run_id)}
        assert states == {None}  # nothing was started
    finally:
        provisioning.client.import_pools(pools())


def test_nobody_matches(provisioning: Provisioning) -> None:
    run_id, state = provisioning.run("tenant_id = 'nobody'")
    assert state == "success"
    assert provisioning.report(run_id)["counts"]["tenants"] == 0


def process_with_port(port: int) -> psutil.Process:
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.laddr.port == port and connection.pid:
            return psutil.Process(connection.pid)
    raise AssertionError(f"no process has port {port}")
