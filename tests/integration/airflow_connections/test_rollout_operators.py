"""The tasks of `tenant_deploy_schema` on a real server, one after the other, without an Airflow that runs."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import (
    InvalidInputError,
    MigrationError,
    RolloutStoppedError,
    SettingsError,
    TenantsFailedError,
)
from tests.deploying import Deploy
from tests.metrics import collected

# Read when Airflow is first imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="dbgear-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

TEMPLATE = """
schemas:
  {{ tenant | schema_name(instance) }}:
    tables:
      users:
        columns: [{columnName: id, columnType: INT, nullable: false, primaryKey: 1}]
"""
PROJECT = """
multi_tenant:
  tenant_registry: {config: {csv: {path: tenants.csv}}}
  targets: {main: {connection_id: main}}
  templates: {base_dir: templates}
  rollout:
    migrations: migrations
    stages: [{name: canary, query: "tenant_id = 'T1'"}, {name: rest, budget: {count: 1}}]
"""
TENANTS = ("T1", "T2", "T3")
UP, DOWN = "ALTER TABLE users ADD plan text;", "-- dbgear:allow ban-drop-column: a test\nALTER TABLE users DROP plan;"
AUDIT = "CREATE TABLE audit (id bigint PRIMARY KEY);"


class Fleet(Deploy):
    """The same with three tenants on a server."""

    database: str
    postgres: Any

    def provisioned(self) -> None:
        from dbgear_airflow_provider.operators.provision import DbgearProvisionOperator

        self.tenants({tenant: f"{self.database}{tenant[1]}" for tenant in TENANTS})
        batch = {"index": 0, "target": "main", "tenant_ids": TENANTS, "selected_at": "2026-01-01T00:00:00+00:00"}
        operator = DbgearProvisionOperator(task_id="provision", batch=batch, pool_slots=2, is_dry_run=False)
        asyncio.run(operator.aexecute(self.context(operator)))

    def query(self, sql: str) -> list[Any]:
        """Execute SQL in which {1} is the schema of T1."""
        schemas = [f"{self.database}{number}_jp_main" for number in range(4)]
        with self.postgres.connect(self.database) as connection:
            cursor = connection.execute(sql.format(*schemas))
            return list(cursor.fetchall()) if cursor.description else []

    def having(self, name: str) -> list[str]:
        """Return the tenants that have a table or a column."""
        sql = f"SELECT table_schema FROM information_schema.columns WHERE '{name}' IN (table_name, column_name)"
        found = {schema for (schema,) in self.query(sql)}
        return [tenant for tenant in TENANTS if f"{self.database}{tenant[1]}_jp_main" in found]

    def stage(self, number: int) -> None:
        """Run the tasks of a stage, all of them, whatever becomes of the batches."""
        for batch in self.run(f"stage_{number}.main.batches"):
            try:
                self.run(f"stage_{number}.main.migrate", batch)
            except TenantsFailedError:
                continue
        self.run(f"stage_{number}.gate")

    def deploy(self, **params: Any) -> None:
        """Run the whole DAG but for approvals."""
        self.run("plan", dry_run=False, **params)
        for number in (1, 2):
            self.stage(number)
        self.run("summarize")

    def undo(self, rollout: str) -> None:
        """Run the DAG to undo a rollout."""
        self.run("plan", action="undo", rollout=rollout, dry_run=False)
        for batch in self.run("undo.main.batches"):
            self.run("undo.main.undo", batch)
        self.run("summarize")


@pytest.fixture
def fleet(postgres: Any, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setenv("AIRFLOW__DBGEAR__PROJECT_FILE", str(tmp_path / "project.yaml"))
    monkeypatch.setenv("AIRFLOW__DBGEAR__REPORT_DIR", (tmp_path / "reports").as_uri())
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "fleet.db")}
    monkeypatch.setenv("AIRFLOW_CONN_DBGEAR_FLEET", json.dumps(connection))
    connection = {"conn_type": "postgres", "host": postgres.host, "port": postgres.port, "login": postgres.user}
    connection |= {"password": postgres.password, "schema": database}
    monkeypatch.setenv("AIRFLOW_CONN_MAIN", json.dumps(connection))
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "schema.j2").write_text(TEMPLATE)
    fleet = Fleet(tmp_path, PROJECT)
    fleet.database, fleet.postgres = database, postgres
    fleet.script("1.0", UP, DOWN)
    fleet.provisioned()
    return fleet


def test_a_dry_run_tells_the_exact_statements_and_begins_nothing(fleet: Fleet) -> None:
    fleet.run("plan")
    assert fleet.having("plan") == []
    assert fleet.ask(lambda rollouts: rollouts.newest()) == []
    plan = fleet.report("plan")
    assert [(stage["name"], stage["tenants"]) for stage in plan["stages"]] == [("canary", 1), ("rest", 2)]
    assert plan["version"] == "1.0"
    (tenant, *_) = plan["tenants"]
    assert "ALTER TABLE users ADD plan text" in tenant["instances"]["main"]["statements"]
    # Nothing of the rest of the DAG is run, but for its end.
    assert len(fleet.skipped["plan"]) == len(fleet.dag.tasks) - 2
    assert fleet.run("summarize")["rollout"] is None


def test_a_rollout_goes_from_stage_to_stage(fleet: Fleet) -> None:
    fleet.run("plan", dry_run=False)
    assert sorted(fleet.skipped["plan"]) == ["undo.main.batches", "undo.main.undo"]
    fleet.stage(1)
    assert fleet.having("plan") == ["T1"]
    fleet.stage(2)
    assert fleet.having("plan") == list(TENANTS)
    assert fleet.run("summarize")["changed"] == 3

    fleet.again("run:2")  # nothing is left to do
    fleet.deploy()
    assert fleet.members() == dict.fromkeys(TENANTS, "skipped")


def test_the_log_of_a_large_batch_has_progress_and_who_has_failed(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    from dbgear_airflow_provider.operators import migrate

    monkeypatch.setattr(migrate, "_NAMED", 1)
    fleet.query("CREATE TABLE {3}.audit (mine text)")
    fleet.script("2.0", AUDIT)
    fleet.run("plan", dry_run=False)
    fleet.stage(1)
    batches = fleet.run("stage_2.main.batches")
    batch = {**batches[0], "tenant_ids": ["T2", "T3"]}
    capsys.readouterr()
    with pytest.raises(TenantsFailedError):
        fleet.run("stage_2.main.migrate", batch)
    log = capsys.readouterr().out + caplog.text
    assert "1 of 2 tenants are done" in log
    assert "tenant T2, instance" not in log
    assert "tenant T3: StatementError" in log


def test_each_tenant_is_counted_and_timed(fleet: Fleet) -> None:
    fleet.query("CREATE TABLE {2}.audit (mine text)")
    fleet.script("2.0", AUDIT)
    with collected() as metrics, pytest.raises(RolloutStoppedError):
        fleet.deploy()
    done = {"operation": "migrate", "dry_run": "False"}
    finished = "dbgear.operation.finished"
    assert metrics.of(finished, **done, outcome="success", target="main") == [1, 1]
    assert metrics.of(finished, **done, outcome="error", error_kind="StatementError") == [1]
    durations = metrics.of("dbgear.operation.duration", **done)
    assert len(durations) == 3
    assert all(0 < duration.total_seconds() < 60 for duration in durations)
    assert set(metrics.of("dbgear.connections.used_at_most", target="main")) <= {1, 2}
    assert metrics.of("dbgear.connections.leaked") == []


def test_a_canary_that_fails_keeps_the_others_as_they_are_until_it_is_mended(fleet: Fleet) -> None:
    rollout = fleet.rollout_id
    fleet.query("CREATE TABLE {1}.audit (mine text)")
    fleet.script("2.0", AUDIT)
    with pytest.raises(RolloutStoppedError, match="is stopped after canary; 1 of 1 tenants failed.*audit.*exists"):
        fleet.deploy()
    assert fleet.members() == {"T1": "failed", "T2": "pending", "T3": "pending"}
    assert fleet.having("plan") == ["T1"]  # the script before it was good
    with pytest.raises(RolloutStoppedError, match="1 failed, 2 pending"):
        fleet.run("summarize")

    fleet.again("run:2")  # resumed, it stops at the same gate
    with pytest.raises(RolloutStoppedError, match="1 of 1 tenants failed"):
        fleet.deploy(action="resume", rollout=rollout)
    fleet.query("DROP TABLE {1}.audit")
    fleet.again("run:3")
    fleet.deploy(action="retry", rollout=rollout)
    assert fleet.having("audit") == list(TENANTS)
    assert fleet.report()["rollout"] == rollout


def test_a_cleared_plan_tries_again_what_has_failed(fleet: Fleet) -> None:
    fleet.script("2.0", AUDIT)
    fleet.query("CREATE TABLE {2}.audit (mine text)")  # the stage has a budget of one
    with pytest.raises(RolloutStoppedError, match="is stopped: 2 changed, 1 failed"):
        fleet.deploy()
    fleet.query("DROP TABLE {2}.audit")
    fleet.deploy()
    assert fleet.members() == dict.fromkeys(TENANTS, "changed")


def test_exactly_what_a_rollout_has_changed_is_undone(fleet: Fleet) -> None:
    fleet.deploy(query="tenant_id = 'T2'")
    fleet.again("run:2")
    second = fleet.rollout_id
    fleet.deploy()
    fleet.again("run:3")
    fleet.run("plan", action="undo", rollout=second)  # a dry run
    assert fleet.report("plan")["tenants"] == ["T1", "T3"]
    fleet.undo(second)
    assert fleet.having("plan") == ["T2"]
    assert fleet.xcoms["summarize", "return_value"]["status"] == "undone"
    with pytest.raises(InvalidInputError, match="it is undone.*a new one: deploy"):
        fleet.run("plan", action="resume", rollout=second, dry_run=False)


def test_what_was_migrated_further_since_is_not_undone(fleet: Fleet) -> None:
    first = fleet.rollout_id
    fleet.deploy()
    fleet.script("2.0", AUDIT, "-- dbgear:allow ban-drop-table: a test\nDROP TABLE audit;")
    fleet.again("run:2")
    fleet.deploy()
    fleet.again("run:3")
    with pytest.raises(TenantsFailedError, match="migrated further since, to 2.0"):
        fleet.run("plan", action="undo", rollout=first)
    with pytest.raises(TenantsFailedError, match="migrated further since, to 2.0"):
        fleet.undo(first)
    assert fleet.having("plan") == list(TENANTS)


def test_a_tenant_that_has_lost_what_it_was_given_is_not_healthy(fleet: Fleet) -> None:
    fleet.run("plan", dry_run=False)
    (batch,) = fleet.run("stage_1.main.batches")
    assert fleet.run("stage_1.main.migrate", batch) == {"changed": 1, "unchanged": 0}
    fleet.query("DELETE FROM {1}.dbgear_migrations WHERE version = '1.0'")
    with pytest.raises(RolloutStoppedError, match="not healthy: T1; 1 script not applied any more"):
        fleet.run("stage_1.gate")


def test_what_lint_refuses_is_told_before_anything_is_written(fleet: Fleet) -> None:
    fleet.script("2.0", "DROP TABLE users;")
    with pytest.raises(MigrationError, match="ban-drop-table.*-- dbgear:allow <rule>: <reason>"):
        fleet.run("plan", dry_run=False)
    assert fleet.ask(lambda rollouts: rollouts.newest()) == []


def test_a_dry_run_fails_where_a_tenant_is_going_to_fail(fleet: Fleet) -> None:
    fleet.query("DROP SCHEMA {3} CASCADE")
    with pytest.raises(TenantsFailedError, match="dry run: 1 of 3 tenants failed.*T3") as failed:
        fleet.run("plan")
    assert failed.value.details["tenant_ids"] == ["T3"]


def test_stages_of_the_run_are_no_more_than_the_dag_has_groups_for(fleet: Fleet) -> None:
    fleet.run("plan", stages='[{"name": "all"}]')
    assert fleet.xcoms["plan", "summary"]["stages"] == 1
    stages = [{"name": "one", "count": 1}, {"name": "two", "count": 1}, {"name": "three"}]
    with pytest.raises(SettingsError, match="more stages than the DAG has groups.*received 3.*up to 2"):
        fleet.run("plan", stages=json.dumps(stages))


def test_only_scripts_up_to_a_version_are_applied(fleet: Fleet) -> None:
    fleet.script("2.0", AUDIT)
    fleet.deploy(to_version="1.0")
    assert (fleet.having("plan"), fleet.having("audit")) == (list(TENANTS), [])
    fleet.again("run:2")
    fleet.deploy(migration=str(fleet.migrations / "v2.0.sql"), query="tenant_id = 'T3'")
    assert fleet.having("audit") == ["T3"]
