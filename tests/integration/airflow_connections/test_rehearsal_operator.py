"""`DbgearRolloutOperator` with a rehearsal, on a real server, without an Airflow that runs."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import InvalidInputError, TenantsFailedError
from dbgear_airflow_provider.core.fleet import FleetStore
from tests.integration.airflow_connections.test_drift_operators import Project, project

__all__ = ["project"]
ROWS = "INSERT INTO S1.users VALUES (1, 'secret'), (2, 'secret')"
UNIQUE = "-- dbgear:allow require-concurrent-index-creation: small\nCREATE UNIQUE INDEX uq_name ON users (name);"


async def plan(project: Project, sql: str, **arguments: Any) -> Any:
    """Run the task; return what it has written."""
    from dbgear_airflow_provider.operators.rollout import DbgearRolloutOperator

    folder = project.folder / "migrations"
    folder.mkdir(exist_ok=True)
    (folder / "1_it.sql").write_text(sql)
    await project.work("provision", project.batch("T1", "T2", "T3"), is_dry_run=False)
    groups = {name: SimpleNamespace(iter_tasks=list) for name in ("one", "undo")}
    context = project.context("r")
    context["dag"] = SimpleNamespace(dag_id="tenant_deploy_schema", task_group_dict=groups)
    operator = DbgearRolloutOperator(
        task_id="plan",
        project_file=str(project.folder / "project.yaml"),
        stage_groups=["one"],
        undo_group="undo",
        query="TRUE",
        migrations=str(folder),
        stages='[{"name": "rest"}]',
        **arguments,
    )
    await operator.aexecute(context)


def written(project: Project) -> Any:
    return json.loads((project.folder / "reports" / "tenant_deploy_schema" / "r" / "plan.json").read_text())


@pytest.mark.parametrize("is_dry_run", [True, False])
async def test_a_script_that_fails_on_a_clone_fails_the_plan_before_anything_is_written(
    project: Project, is_dry_run: bool
) -> None:
    await project.work("provision", project.batch("T1"), is_dry_run=False)
    project.query(ROWS)
    with pytest.raises(TenantsFailedError, match=r"rehearsal: 1 of 1 groups failed: T1: .*stands for 3 instances"):
        await plan(project, UNIQUE, is_dry_run=is_dry_run, rehearse="True")
    (told,) = written(project)["rehearsal"]
    assert (told["outcome"], told["count"], told["rehearsed_on"]) == ("failed", 3, "T1/main")
    assert told["statement"] == "CREATE UNIQUE INDEX uq_name ON users (name)"
    assert "secret" not in json.dumps(told)
    store = FleetStore(f"sqlite+aiosqlite:///{project.folder / 'fleet.db'}")
    assert await store.rollouts.get("tenant_deploy_schema/r") is None
    await store.aclose()
    assert "summary" not in project.pushed


async def test_what_passes_goes_on_and_is_in_the_plan(project: Project) -> None:
    await project.work("provision", project.batch("T1"), is_dry_run=False)
    project.query(ROWS)
    await plan(project, UNIQUE, is_dry_run="False", rehearse="True", rehearsal_rows="1")
    (told,) = written(project)["rehearsal"]
    assert (told["outcome"], told["changes"]) == ("passed", ["index users.uq_name: added"])
    assert project.pushed["summary"]["rollout"]


async def test_without_it_nothing_is_rehearsed(project: Project) -> None:
    await project.work("provision", project.batch("T1"), is_dry_run=False)
    project.query(ROWS)
    await plan(project, UNIQUE)
    assert written(project)["rehearsal"] is None


@pytest.mark.parametrize(
    "arguments",
    [{"rehearse": True, "rehearsal_rows": -1}, {"rehearse": True, "action": "undo", "rollout": "x"}],
    ids=["rows", "undo"],
)
async def test_what_makes_no_sense_is_refused(project: Project, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="rehears"):
        await plan(project, UNIQUE, **arguments)
