"""The operators of the sync and its DAG, as far as they can be asked without an Airflow that runs."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import (
    SettingsError,
    SourceUnavailableError,
    SyncRefusedError,
    UnsupportedError,
)
from dbgear_airflow_provider.core.tenants import TenantQuery

REPOSITORY = Path(__file__).resolve().parents[3]
HEADER = "tenant_id,customer_name,customer_code,region,tier,status,created_at,updated_at,isolation_strategy\n"
PROJECT = """\
multi_tenant:
  tenant_registry:
    provider: database
    config: {database: {url: "sqlite:///FOLDER/registry.db"}}
  sources:
    crm:
      config: {csv: {path: crm.csv}}
    billing:
      config: {csv: {path: billing.csv}}
      fields: [tenant_id, billing_info]
  targets: {main: {connection_id: main}}
"""


class Project:
    """A project in a folder, and tasks that run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "project.yaml"
        self.file.write_text(PROJECT.replace("FOLDER", str(folder)))
        self.billing(["T1"])
        self.pushed: dict[str, Any] = {}
        self.events: list[Any] = []

    def crm(self, tenants: Mapping[str, str], tier: str = "basic") -> None:
        """Write the CRM's file of {tenant_id: status}."""
        rows = [
            f"{id_},顧客,{id_.lower()},jp,{tier},{status},2026-01-01,2026-01-01,schema\n"
            for id_, status in tenants.items()
        ]
        (self.folder / "crm.csv").write_text(HEADER + "".join(rows))

    def billing(self, tenant_ids: Sequence[str], plan: str = "x") -> None:
        rows = [f'{tenant_id},"{{""plan"": ""{plan}""}}"\n' for tenant_id in tenant_ids]
        (self.folder / "billing.csv").write_text("tenant_id,billing_info\n" + "".join(rows))

    async def sync(self, run_id: str = "run:1", attempt: int = 1, **arguments: Any) -> dict[str, Any]:
        from airflow.sdk.execution_time.context import OutletEventAccessors

        from dbgear_airflow_provider.operators.sync import TENANTS_CHANGED, DbgearSyncOperator

        context = self.context(run_id, attempt, OutletEventAccessors())
        try:
            operator = DbgearSyncOperator(task_id="sync", project_file=str(self.file), **arguments)
            summary: dict[str, Any] = await operator.aexecute(context)
        finally:
            self.events = context["outlet_events"][TENANTS_CHANGED].asset_alias_events
        json.dumps(summary)
        return summary

    async def select(
        self, became: str, *, is_enabled: Any = "True", access: bool = False, run_id: str = "run:1"
    ) -> list[dict[str, Any]]:
        from dbgear_airflow_provider.operators.synced_tenants import DbgearSyncedTenantsOperator

        operator = DbgearSyncedTenantsOperator(
            task_id="select",
            report=self.report_path(run_id).as_uri(),
            became=became,
            is_enabled=is_enabled,
            access=access,
        )
        selected: list[dict[str, Any]] = await operator.aexecute(self.context(run_id, 1, None))
        return selected

    def context(self, run_id: str, attempt: int, events: Any) -> Any:
        ti = SimpleNamespace(try_number=attempt, xcom_push=self.pushed.__setitem__)
        return {"dag": SimpleNamespace(dag_id="tenant_sync"), "run_id": run_id, "ti": ti, "outlet_events": events}

    def report_path(self, run_id: str = "run:1") -> Path:
        return self.folder / "reports" / "tenant_sync" / run_id.replace(":", "_") / "sync.json"

    def report(self, run_id: str = "run:1") -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.report_path(run_id).read_text())
        return report


@pytest.fixture
def project(tmp_path: Path, connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("AIRFLOW__DBGEAR__REPORT_DIR", (tmp_path / "reports").as_uri())
    connection("dbgear_fleet", conn_type="sqlite", host=str(tmp_path / "fleet.db"))
    return Project(tmp_path)


async def test_a_dry_run_tells_and_writes_nothing(project: Project) -> None:
    project.crm({"T1": "active", "T2": "active"})
    for _ in range(2):
        summary = await project.sync()
        assert (summary["added"], summary["dry_run"]) == (2, True)
        assert summary["became"]["active"] == {"count": 2, "tenant_ids": ["T1", "T2"]}
        assert project.report()["state"] == "planned"
        assert project.events == []
    assert [tenant["tenant_id"] for tenant in project.report()["added"]] == ["T1", "T2"]
    assert summary["report"] == str(project.report_path()) or summary["report"].endswith("run_1/sync.json")


async def test_a_sync_writes_tells_and_records_an_event_only_when_something_changed(project: Project) -> None:
    project.crm({"T1": "active", "T2": "active"})
    assert (await project.sync(is_dry_run="False"))["added"] == 2
    (event,) = project.events
    assert (event.dest_asset_key.name, event.dest_asset_key.uri) == ("dbgear_tenants", "dbgear://registry/tenants")
    assert event.extra == {"added": 2, "changed": 0, "terminated": 0}
    assert project.report()["state"] == "applied"

    summary = await project.sync(run_id="run:2", is_dry_run=False)
    assert (summary["added"], summary["changed"], summary["unchanged"]) == (0, 0, 2)
    assert project.events == []


async def test_a_sync_that_is_refused_leaves_its_report_and_fails_for_good(project: Project) -> None:
    project.crm({f"T{number}": "active" for number in range(10)})
    await project.sync(is_dry_run=False)
    project.crm({f"T{number}": "active" for number in range(5)})
    for dry_run in (True, False):
        with pytest.raises(SyncRefusedError, match="source crm: 5 of 10") as caught:
            await project.sync(run_id="run:2", is_dry_run=dry_run)
        assert pickle.loads(pickle.dumps(caught.value)).details == caught.value.details  # noqa: S301
        assert project.report("run:2")["state"] == "refused"
        assert len(project.report("run:2")["terminated"]) == 5
        assert project.pushed["summary"]["became"]["terminated"]["tenant_ids"] == ["T5", "T6", "T7", "T8", "T9"]
        assert project.events == []
    summary = await project.sync(run_id="run:3", is_dry_run=False, force="true")
    assert summary["terminated"] == 5


async def test_a_source_that_is_down_is_worth_a_retry(project: Project) -> None:
    with pytest.raises(SourceUnavailableError):
        await project.sync(is_dry_run=False)


async def test_some_of_the_sources(project: Project) -> None:
    project.crm({"T1": "active", "T2": "active"})
    await project.sync(is_dry_run=False)
    project.crm({"T1": "suspended"})
    project.billing(["T1"], "y")
    summary = await project.sync(run_id="run:2", is_dry_run=False, sources="['billing']")
    assert (summary["changed"], summary["terminated"]) == (1, 0)
    assert project.report("run:2")["unread"] == ["crm"]
    assert list(project.report("run:2")["changed"][0]["fields"]) == ["updated_at", "billing_info.plan"]
    with pytest.raises(SettingsError, match="no such source.*'erp'; allowed: crm, billing"):
        await project.sync(sources=["crm", "erp"])


async def test_a_registry_that_cannot_be_written_is_told_in_the_dry_run(project: Project) -> None:
    project.crm({"T1": "active"})
    text = project.file.read_text()
    start, end = text.index("    provider: database"), text.index("  sources:")
    project.file.write_text(text[:start] + "    config: {csv: {path: crm.csv}}\n" + text[end:])
    with pytest.raises(UnsupportedError, match=r"crm.csv: a sync needs a registry that can be written"):
        await project.sync()


async def test_who_is_to_be_provisioned_and_whose_access_ends(project: Project) -> None:
    project.crm({"T1": "active", "T2": "inactive"})
    await project.sync(is_dry_run=False)
    assert await project.select("active") == [
        {"query": "status = 'active' AND tenant_id IN ('T1')", "dry_run": False},
    ]
    project.crm({"T1": "suspended", "T2": "active", "it's": "active"})
    await project.sync(run_id="run:2", force=True)
    assert await project.select("active", run_id="run:2") == [{"query": "tenant_id IN ('T2')", "dry_run": True}]

    from airflow.sdk.exceptions import AirflowSkipException

    for became in ("suspended", "active"):
        with pytest.raises(AirflowSkipException, match="nothing to do"):
            await project.select(became, access=True, run_id="run:2")
    await project.sync(run_id="run:2", is_dry_run=False, force=True)
    (active,) = await project.select("active", run_id="run:2")
    (suspended,) = await project.select("suspended", access=True, run_id="run:2")
    (reactivated,) = await project.select("active", access=True, run_id="run:2")
    assert active["query"] == "status = 'active' AND tenant_id IN ('T2', 'it''s')"
    assert suspended == {"query": "status = 'suspended' AND tenant_id IN ('T1')", "dry_run": False}
    assert reactivated["query"] == "status = 'active' AND tenant_id IN ('T2')"
    TenantQuery.parse(active["query"])
    with pytest.raises(AirflowSkipException, match="switched off"):
        await project.select("active", is_enabled="False", run_id="run:2")
    await project.sync(run_id="run:3", is_dry_run=False)
    with pytest.raises(AirflowSkipException, match="nothing to do"):
        await project.select("active", run_id="run:3")


async def test_a_retry_knows_what_the_attempt_before_it_wrote(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed right after the registry was written, the task finds no difference any more, and yet has news."""
    from dbgear_airflow_provider.operators import sync

    class Killed(BaseException):
        pass

    write = sync._Report.write

    async def dies(report: Any, plan: Any, state: str, *more: Any) -> None:
        if state == "applied":
            raise Killed
        await write(report, plan, state, *more)

    project.crm({"T1": "active", "T2": "active"})
    monkeypatch.setattr(sync._Report, "write", dies)
    with pytest.raises(Killed):
        await project.sync(is_dry_run=False)
    monkeypatch.undo()
    monkeypatch.setenv("AIRFLOW__DBGEAR__REPORT_DIR", (project.folder / "reports").as_uri())
    monkeypatch.setenv(
        "AIRFLOW_CONN_DBGEAR_FLEET", json.dumps({"conn_type": "sqlite", "host": str(project.folder / "fleet.db")})
    )
    summary = await project.sync(is_dry_run=False, attempt=2)
    assert (summary["added"], summary["unchanged"]) == (0, 2)
    assert [event.extra["added"] for event in project.events] == [2]
    assert (await project.select("active"))[0]["query"] == "status = 'active' AND tenant_id IN ('T1', 'T2')"


async def test_a_report_is_there_as_a_whole_or_not_at_all(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it wrote the report, the task leaves the one before: the retry needs it."""

    class Killed(BaseException):
        pass

    def dies(path: Path, text: str, **more: Any) -> int:
        with path.open("w", **more) as file:
            file.write(text[: len(text) // 2])
        raise Killed

    project.crm({"T1": "active"})
    await project.sync(is_dry_run=False)
    before = project.report()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", dies)
        with pytest.raises(Killed):
            await project.sync(is_dry_run=False, attempt=2)
    assert project.report() == before
    assert [path.name for path in project.report_path().parent.iterdir()] == ["sync.json"]
    await project.sync(is_dry_run=False, attempt=3)
    assert project.report()["became"]["active"] == ["T1"]


async def test_the_log_tells_what_came_of_it_and_where_the_report_is(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    async def told(**arguments: Any) -> str:
        capsys.readouterr()
        with suppress(SyncRefusedError):
            await project.sync(**arguments)
        return " ".join("".join(capsys.readouterr()).split())

    project.crm({"T1": "active", "T2": "active"})
    report = f"; report: {project.report_path().as_uri()}"
    assert f"a dry run, nothing is written{report}" in await told()
    assert f"written{report}" in await told(is_dry_run=False)
    assert f"nothing to write{report}" in await told(is_dry_run=False)
    project.crm({"T1": "active"})
    assert f"refused, nothing is written; force would go on{report}" in await told(is_dry_run=False)
    assert "overruled by force: source crm: 1 of 2" in await told(is_dry_run=False, force=True)
    project.crm({})
    assert f"refused, nothing is written{report}" in await told(is_dry_run=False, force=True)

    from airflow.sdk.exceptions import AirflowSkipException

    capsys.readouterr()
    for enabled in ("False", "True"):
        with pytest.raises(AirflowSkipException):
            await project.select("active", is_enabled=enabled)
    told_of_skips = "".join(capsys.readouterr())
    assert "skipped: switched off" in told_of_skips
    assert "skipped: nobody is concerned" in told_of_skips


DAG = """
import json, runpy, sys, time
started = time.perf_counter()
names = runpy.run_path(sys.argv[1])
seconds = time.perf_counter() - started
dag = names.get("dag")
print(json.dumps(None if dag is None else {
    "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    "params": {name: [dag.params.get_param(name).schema["type"], dag.params[name]] for name in dag.params},
    "enum": dag.params.get_param("sources").schema["items"]["enum"],
    "schedule": dag.schedule.expression,
    "once": [dag.catchup, dag.max_active_runs, dag.is_paused_upon_creation],
    "outlets": [str(outlet.name) for outlet in dag.get_task("sync").outlets],
}))
"""


def parse_dag(project: Path) -> Any:
    result = subprocess.run(
        [sys.executable, "-c", DAG, str(REPOSITORY / "dags" / "tenant_sync.py")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "AIRFLOW__DBGEAR__PROJECT_FILE": str(project)},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_dag_runs_every_night_and_its_form_is_what_the_project_says(project: Project) -> None:
    with project.file.open("a") as file:
        file.write("  sync: {dry_run: false, provision_new: true}\n")
    assert parse_dag(project.file) == {
        "tasks": {
            "sync": ["activated", "reactivated", "suspended"],
            "activated": ["provision_new"],
            "suspended": ["revoke_suspended"],
            "reactivated": ["restore_reactivated"],
            "provision_new": [],
            "revoke_suspended": [],
            "restore_reactivated": [],
        },
        "params": {
            "sources": ["array", []],
            "dry_run": ["boolean", False],
            "force": ["boolean", False],
            "provision_new": ["boolean", True],
            "revoke_suspended": ["boolean", False],
        },
        "enum": ["crm", "billing"],
        "schedule": "0 2 * * *",
        "once": [False, 1, True],
        "outlets": ["dbgear_tenants_changed"],
    }


def test_a_project_without_sources_has_no_dag(tmp_path: Path) -> None:
    (tmp_path / "project.yaml").write_text(
        "multi_tenant:\n  tenant_registry: {connection_id: x}\n  targets: {main: {connection_id: main}}\n"
    )
    assert parse_dag(tmp_path / "project.yaml") is None
