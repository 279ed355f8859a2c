"""`DbgearDriftOperator` and `DbgearPlanOperator` on real servers, without an Airflow that runs."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import TenantsFailedError, TenantsRetryableError

# Read when Airflow is first imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="dbgear-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

TEMPLATE = """
schemas:
  {{ tenant | schema_name(instance) }}:
    tables:
      users:
        columns:
          - {columnName: id, columnType: INT, nullable: false, primaryKey: 1}
          - {columnName: name, columnType: VARCHAR(50)}
        indexes: [{indexName: by_name, columns: [name]}]
"""
PROJECT = """
multi_tenant:
  tenant_registry: {config: {csv: {path: tenants.csv}}}
  targets: {main: {connection_id: main}}
  templates: {base_dir: templates}
"""
HEADER = "tenant_id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy\n"


class Project:
    """A project of three tenants on one server, and tasks that run in it."""

    def __init__(self, folder: Path, database: str, query: Any) -> None:
        self.folder, self.database, self.query = folder, database, query
        self.pushed: dict[str, Any] = {}
        (folder / "templates").mkdir()
        (folder / "templates" / "schema.j2").write_text(TEMPLATE)
        (folder / "project.yaml").write_text(PROJECT)
        rows = [f"T{n},顧客,{database}{n},jp,basic,active,2026-01-01,2026-01-01,schema\n" for n in (1, 2, 3)]
        (folder / "tenants.csv").write_text(HEADER + "".join(rows))

    def context(self, run_id: str) -> Any:
        ti = SimpleNamespace(try_number=1, xcom_push=self.pushed.__setitem__)
        return {"dag": SimpleNamespace(dag_id="tenant_drift_check"), "run_id": run_id, "ti": ti}

    async def drift(self, run_id: str = "r", **arguments: Any) -> Any:
        from dbgear_airflow_provider.operators.drift import DbgearDriftOperator

        operator = DbgearDriftOperator(
            task_id="check", project_file=str(self.folder / "project.yaml"), query="TRUE", target="main", **arguments
        )
        return await operator.aexecute(self.context(run_id))

    async def work(self, kind: str, batch: Any, run_id: str = "r", **arguments: Any) -> Any:
        from dbgear_airflow_provider.operators.plan import DbgearPlanOperator
        from dbgear_airflow_provider.operators.provision import DbgearProvisionOperator

        operator = {"plan": DbgearPlanOperator, "provision": DbgearProvisionOperator}[kind](
            task_id=kind, project_file=str(self.folder / "project.yaml"), batch=batch, pool_slots=2, **arguments
        )
        return await operator.aexecute(self.context(run_id))

    def report(self, run_id: str = "r") -> Any:
        path = self.folder / "reports" / "tenant_drift_check" / run_id / "drift_main.json"
        return json.loads(path.read_text())

    def batch(self, *tenant_ids: str) -> dict[str, Any]:
        return {
            "index": 0,
            "target": "main",
            "tenant_ids": list(tenant_ids),
            "selected_at": "2026-01-01T00:00:00+00:00",
        }


@pytest.fixture
def project(postgres: Any, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("AIRFLOW__DBGEAR__REPORT_DIR", (tmp_path / "reports").as_uri())
    fields = {"conn_type": "sqlite", "host": str(tmp_path / "fleet.db")}
    monkeypatch.setenv("AIRFLOW_CONN_DBGEAR_FLEET", json.dumps(fields))
    fields = {"conn_type": "postgres", "host": postgres.host, "port": postgres.port, "login": postgres.user}
    fields |= {"password": postgres.password, "schema": database}
    monkeypatch.setenv("AIRFLOW_CONN_MAIN", json.dumps(fields))

    def query(sql: str) -> None:
        with postgres.connect(database) as connection:
            connection.execute(sql.replace("S1.", f"{database}1_jp_main."))

    return Project(tmp_path, database, query)


async def test_a_fleet_as_it_should_be_is_told_as_such(project: Project) -> None:
    await project.work("provision", project.batch("T1", "T2", "T3"), is_dry_run=False)
    assert await project.drift(fail_on_drift="True", is_repaired="True") == []
    assert project.pushed["summary"]["drifted"] == 0
    report = project.report()
    assert [group["count"] for group in report["groups"]] == [3]
    assert report["plans"] == []


async def test_drift_is_told_with_its_plan_and_repaired_where_that_is_asked_for(project: Project) -> None:
    await project.work("provision", project.batch("T1", "T2"), is_dry_run=False)
    project.query("DROP INDEX S1.users_by_name")
    assert await project.drift(run_id="warns") == []
    report = project.report("warns")
    assert report["drifted_tenants"] == ["T1"]
    assert report["counts"]["missing"] == 1
    assert [group["differences"] for group in report["groups"]] == [["index users.users_by_name: missing"], []]
    (plan,) = report["plans"]
    assert [statement["sql"].split(" ON ")[0] for statement in plan["statements"]] == ["CREATE INDEX users_by_name"]
    with pytest.raises(TenantsFailedError, match="1 tenants have drifted, 1 are missing"):
        await project.drift(run_id="fails", fail_on_drift=True)
    assert project.report("fails")["counts"]["drifted"] == 1

    batches = await project.drift(run_id="repairs", is_repaired="true")
    assert [batch["tenant_ids"] for batch in batches] == [["T1"], ["T3"]]  # T3 is missing
    assert await project.work("plan", batches[0], run_id="dry") == {"succeeded": 1, "failed": []}
    assert project.report("repairs")["counts"]["drifted"] == 1
    await project.work("plan", batches[0], run_id="repairs", is_dry_run=False)
    await project.drift(run_id="after")
    assert project.report("after")["counts"]["drifted"] == 0


async def test_a_sink_is_opened_only_where_passwords_are_made(project: Project) -> None:
    from airflow.sdk.exceptions import AirflowNotFoundException

    access = "  access: {roles: true, sink: {type: vault, connection_id: not_there}}\n"
    (project.folder / "project.yaml").write_text(PROJECT + access)
    assert await project.drift() == []
    for kind in ("provision", "plan"):
        with pytest.raises(AirflowNotFoundException, match="not_there"):
            await project.work(kind, project.batch("T1"), is_dry_run="false")
    assert await project.work("provision", project.batch("T1")) == {"succeeded": 1, "failed": []}
    with pytest.raises(TenantsFailedError, match="not provisioned yet"):
        await project.work("plan", project.batch("T1"))


async def test_with_repair_every_bad_tenant_fails_under_its_own_name_and_the_others_are_repaired(
    project: Project,
) -> None:
    await project.work("provision", project.batch("T1", "T2", "T3"), is_dry_run=False)
    project.query("DROP INDEX S1.users_by_name")
    project.query(f"DROP SCHEMA {project.database}2_jp_main CASCADE")
    with (project.folder / "tenants.csv").open("a") as file:
        row = f"{{}},顧客,{project.database}4,jp,basic,{{}},2026-01-01,2026-01-01,schema\n"
        file.write(row.format("T4", "active") + row.format("T5", "active") + row.format("T6", "nonsense"))
    batches = await project.drift(is_repaired=True, fail_on_drift=True)
    assert [batch["tenant_ids"] for batch in batches] == [["T1"], ["T2"], ["T4"], ["T5"]]
    report = project.report()
    assert sorted(report["clashing"]) == ["T4", "T5"]
    assert ["nonsense" in text for text in report["rejected"]] == [True]

    await project.work("plan", batches[0], is_dry_run=False)
    for batch, told in zip(batches[1:], ("not provisioned yet", "would be shared", "would be shared"), strict=True):
        with pytest.raises(TenantsFailedError, match=told) as failed:
            await project.work("plan", batch, is_dry_run=False)
        assert failed.value.details["tenant_ids"] == batch["tenant_ids"]
    with pytest.raises(TenantsFailedError, match="0 tenants have drifted, 1 are missing, 2 unread") as failed:
        await project.drift(run_id="after", fail_on_drift=True)
    assert failed.value.details["tenant_ids"] == ["T2", "T4", "T5"]


async def test_a_server_that_was_away_is_asked_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    await project.work("provision", project.batch("T1", "T2", "T3"), is_dry_run=False)
    target = os.environ["AIRFLOW_CONN_MAIN"]
    with monkeypatch.context() as patched:
        patched.setenv("AIRFLOW_CONN_MAIN", json.dumps({**json.loads(target), "port": 1}))
        with pytest.raises(TenantsRetryableError, match="3 unread") as failed:
            await project.drift(fail_on_drift=True)
    assert failed.value.details["tenant_ids"] == ["T1", "T2", "T3"]
    assert [item["transient"] for item in project.report()["unread"]] == [True] * 3
    assert await project.drift(fail_on_drift=True) == []


async def test_what_a_plan_leaves_out_is_logged(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    await project.work("provision", project.batch("T1"), is_dry_run=False)
    path = project.folder / "project.yaml"
    path.write_text(path.read_text().replace("base_dir: templates", "base_dir: templates, on_unsupported: warn"))
    path = project.folder / "templates" / "schema.j2"
    trigger = "{tableName: users, timing: BEFORE, event: INSERT, body: SET NEW.name = LOWER(NEW.name)}"
    text = path.read_text().replace("VARCHAR(50)", "VARCHAR(60)")
    path.write_text(text + f"    triggers:\n      lower_name: {trigger}\n")
    await project.work("plan", project.batch("T1"))
    assert "tenant T1, instance main: left out: " in capsys.readouterr().out


async def test_what_may_lose_data_is_left_unless_it_is_allowed(project: Project) -> None:
    await project.work("provision", project.batch("T1"), is_dry_run=False)
    project.query("ALTER TABLE S1.users ADD mine text")
    with pytest.raises(TenantsFailedError, match="may lose data"):
        await project.work("plan", project.batch("T1"), is_dry_run="False")
    project.query("SELECT mine FROM S1.users")
    await project.work("plan", project.batch("T1"), run_id="again", is_dry_run=False, allow_destructive="True")
    await project.drift()
    assert project.report()["counts"]["drifted"] == 0
