"""The DAG `tenant_deploy_schema` and its operators, as far as they can be asked without servers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import InvalidInputError, RolloutStoppedError
from tests.deploying import Deploy
from tests.unit.rollout.fleet import member

CANARY = {"name": "canary", "budget": {"count": 0}, "soak_s": 0, "approval": True, "health": False}
REST = {"name": "rest", "budget": {"count": 1}, "soak_s": 0, "approval": False, "health": False}
STAGES = (CANARY, REST)
SCRIPTS = [{"version": "2.0", "name": "x", "file": "v2.0_x.sql", "statements": 2, "undoable": False}]
FOLLOWING = member("T2", "pending", stage=1)


# The DAG.


def test_there_is_a_group_for_each_stage_and_instance_and_in_it_one_for_each_target(deploy: Deploy) -> None:
    stages = ["stage_1", "stage_2", "stage_3", "stage_4"]  # two stages, each of which promotion may make two of
    groups = {f"{group}.{target}" for group in (*stages, "undo") for target in ("main", "other")} | {*stages, "undo"}
    assert {group for group in deploy.dag.task_group_dict if group} == groups
    tasks = {task.task_id: task for task in deploy.dag.tasks}
    assert len(tasks) == 2 + 4 * 6 + 4
    for before, stage in zip(["plan", *stages[:-1]], stages, strict=True):
        for target in ("main", "other"):
            upstream = ["plan"] if before == "plan" else [f"{before}.approval", f"{before}.gate"]
            assert sorted(tasks[f"{stage}.{target}.batches"].upstream_task_ids) == upstream
            assert tasks[f"{stage}.{target}.batches"].trigger_rule == "none_failed_min_one_success"
            migrate = tasks[f"{stage}.{target}.migrate"]
            assert (migrate.pool, migrate.partial_kwargs["pool_slots"]) == (f"dbgear_{target}", 3)
        assert tasks[f"{stage}.gate"].trigger_rule == "all_done"
        assert tasks[f"{stage}.gate"].list_task_ids == [f"{stage}.main.batches", f"{stage}.other.batches"]
        assert tasks[f"{stage}.approval"].upstream_task_ids == {f"{stage}.gate"}
    assert tasks["summarize"].trigger_rule == "all_done"
    # Not after the last stage alone: a rollout of fewer stages skips that at once.
    ends = {f"{stage}.{task}" for stage in stages for task in ("gate", "approval")}
    assert tasks["summarize"].upstream_task_ids == {*ends, "undo.main.undo", "undo.other.undo"}


def test_what_the_form_asks_for_has_defaults_that_it_takes(deploy: Deploy) -> None:
    params = {name: deploy.dag.params.get_param(name) for name in deploy.dag.params}
    assert {name: param.value for name, param in params.items()} == {
        "query": "status = 'active'",
        "migration": None,
        "to_version": None,
        "dry_run": True,
        "rehearse": False,
        "approval": "stages",
        "stages": None,
        "out_of_order": False,
        "tenants_in_flight": 3,
        "action": "deploy",
        "rollout": None,
    }
    for name, param in params.items():
        assert param.value != "", name  # the form would not let it be triggered
        param.resolve()


@pytest.mark.parametrize(
    ("name", "value"),
    [("query", ""), ("action", "destroy"), ("approval", "maybe"), ("tenants_in_flight", 4), ("dry_run", "no")],
)
def test_what_the_form_does_not_take(deploy: Deploy, name: str, value: Any) -> None:
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        deploy.dag.params.get_param(name).resolve(value=value)


def test_params_reach_the_plan(deploy: Deploy) -> None:
    plan, _ = deploy.task("plan")
    assert (plan.query, plan.is_dry_run) == ("status = 'active'", "True")
    assert (plan.approval, plan.action) == ("stages", "deploy")
    assert (plan.migrations, plan.to_version, plan.stages, plan.rollout) == ("", "", "", "")
    given = {"query": "TRUE", "migration": "/x", "to_version": "2.0", "stages": "[]", "rollout": "r", "dry_run": False}
    plan, _ = deploy.task("plan", **given, out_of_order=True, approval="never", action="undo")
    assert (plan.query, plan.migrations, plan.to_version, plan.stages) == ("TRUE", "/x", "2.0", "[]")
    assert (plan.rollout, plan.is_dry_run, plan.out_of_order) == ("r", "False", "True")
    assert (plan.approval, plan.action) == ("never", "undo")


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"action": "resume"}, "rollout: not with this action.*the id of a rollout, for resume, retry and undo"),
        ({"rollout": "r"}, "rollout: not with this action.*received 'r'"),
        ({"action": "undo", "rollout": "r"}, "rollout: no such rollout.*received 'r'"),
        ({"action": "retry", "rollout": "r"}, "rollout: no such rollout.*received 'r'"),
        ({"stages": "{"}, "stages: no JSON"),
        ({"stages": '{"name": "all"}'}, "stages: no list"),
        ({"stages": '[{"name": "all", "colour": 1}]'}, "colour"),
        ({"query": "colour = 1"}, "colour"),
        ({"migration": "/no/such/folder"}, "/no/such/folder"),
        ({"out_of_order": "perhaps"}, "out_of_order: not a flag"),
        ({"dry_run": "perhaps"}, "is_dry_run: not a flag"),
        ({"approval": "maybe"}, "approval: no such choice.*stages.*always.*never"),
        ({"action": "destroy"}, "action: no such action.*deploy.*resume.*retry.*undo"),
    ],
)
def test_wrong_parameters_are_told_and_nothing_is_begun(deploy: Deploy, params: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInputError, match=f"(?s){told}"):
        deploy.run("plan", **{"dry_run": False, **params})
    assert deploy.ask(lambda rollouts: rollouts.newest()) == []
    assert ("plan", "summary") not in deploy.xcoms


# The gate.


def judged(deploy: Deploy) -> None:
    deploy.xcoms["stage_1.main.batches", "return_value"] = []
    deploy.run("stage_1.gate")


def test_a_gate_lets_the_rollout_go_on_and_skips_the_approval_that_nobody_has_to_give(deploy: Deploy) -> None:
    deploy.begun([REST, REST], [member("T1"), FOLLOWING])
    judged(deploy)
    assert deploy.skipped == {"stage_1.gate": ["stage_1.approval"]}
    assert deploy.xcoms["stage_1.gate", "verdict"]["action"] == "go"
    assert deploy.report()["verdict"]["action"] == "go"
    assert (deploy.folder / "reports" / "tenant_deploy_schema" / "run_1" / "rollout.html").exists()


def test_a_gate_asks_a_person_once(deploy: Deploy) -> None:
    deploy.begun(STAGES, [member("T1"), FOLLOWING])
    judged(deploy)
    assert deploy.skipped == {}
    deploy.ask(lambda rollouts: rollouts.approve(deploy.rollout_id, 0, "aya"))
    judged(deploy)
    assert deploy.skipped == {"stage_1.gate": ["stage_1.approval"]}
    assert deploy.report()["stages"][0]["approved_by"] == "aya"


def test_a_gate_stops_a_rollout_whose_budget_is_spent(deploy: Deploy) -> None:
    deploy.begun(STAGES, [member("T1", "failed"), FOLLOWING])
    with pytest.raises(RolloutStoppedError, match="is stopped after canary; 1 of 1 tenants failed.*T1.*rollout.json"):
        judged(deploy)
    assert deploy.status() == "stopped"
    assert deploy.report()["verdict"]["action"] == "stop"


def test_a_gate_stops_a_rollout_whose_instances_nobody_works_on(deploy: Deploy) -> None:
    deploy.begun(STAGES, [member("T1", "pending")])
    with pytest.raises(RolloutStoppedError, match="1 of 1 instances are not done; and nobody works on them: resume"):
        judged(deploy)


def test_a_gate_waits_for_the_soak_time_without_a_worker_and_looks_again(deploy: Deploy) -> None:
    from airflow.sdk.exceptions import TaskDeferred

    began = datetime.now(UTC)
    deploy.begun([{**REST, "soak_s": 600}, REST], [member("T1", started_at=began), FOLLOWING])
    with pytest.raises(TaskDeferred) as waits:
        judged(deploy)
    assert waits.value.trigger.moment == began + timedelta(seconds=601)
    assert deploy.skipped == {}
    deploy.ask(lambda rollouts: rollouts.set_status(deploy.rollout_id, "stopped", of=["running"]))
    gate, context = deploy.task("stage_1.gate")
    with pytest.raises(RolloutStoppedError, match="is stopped after rest"):
        getattr(gate, waits.value.method_name)(context, {"event": "the time has come"})


@pytest.mark.parametrize("status", ["stopped", "paused"])
def test_a_gate_does_not_go_on_with_a_rollout_that_somebody_has_stopped(deploy: Deploy, status: Any) -> None:
    deploy.begun(STAGES, [member("T1"), FOLLOWING])
    deploy.ask(lambda rollouts: rollouts.set_status(deploy.rollout_id, status, of=["running"]))
    with pytest.raises(RolloutStoppedError, match=f"is {status} after canary"):
        judged(deploy)


def test_a_gate_that_was_not_reached_is_skipped(deploy: Deploy) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    with pytest.raises(AirflowSkipException):
        deploy.run("stage_1.gate")


# The approval.


@pytest.fixture
def asked(deploy: Deploy, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a person is asked: Airflow's own way to its database is not there."""
    from airflow.providers.standard.operators import hitl
    from airflow.sdk.exceptions import TaskAwaitingInput

    found: dict[str, Any] = {}
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **detail: found.update(detail))
    members = [member("T1"), member("T1", instance="test"), member("T3", "failed", error="a|b <i>"), FOLLOWING]
    deploy.begun(STAGES, members, scripts=SCRIPTS)
    task, context = deploy.task("stage_1.approval")
    with pytest.raises(TaskAwaitingInput):
        task.execute(context)
    return found


def answer(deploy: Deploy, option: str, user: Any) -> Any:
    task, context = deploy.task("stage_1.approval")
    event = {"chosen_options": [option], "params_input": {}, "responded_at": datetime.now(UTC)}
    return task.execute_complete(context, {**event, "responded_by_user": user})


def test_a_person_is_told_what_there_is_to_decide(deploy: Deploy, asked: dict[str, Any]) -> None:
    assert asked["subject"] == "Rollout to version 2.0: go on from canary to rest?"
    assert asked["options"] == ["Approve", "Reject"]
    for told in (
        "**canary** is done. To come: 1 tenant in 1 stage. 1 instance left",
        f"Rollout `{deploy.rollout_id}` to version **2.0**, for `status = 'active'`:",
        "- `v2.0_x.sql`: 2 statements, **cannot be undone**",
        "| canary | 2 | 3 | 2 | 0 | 1 | 0 | 0 | 0 | 1.00 s |",
        "- failed, StatementError: T3; a\\|b &lt;i>",
        "Reject stops the rollout.",
    ):
        assert told in asked["body"]


def test_who_approves_is_kept(deploy: Deploy, asked: dict[str, Any]) -> None:
    answer(deploy, "Approve", {"id": "1", "name": "aya"})
    (approval,) = deploy.ask(lambda rollouts: rollouts.require(deploy.rollout_id)).approvals
    assert (approval["stage"], approval["by"]) == (0, "aya")
    assert deploy.status() == "running"
    task, context = deploy.task("stage_1.approval")  # Airflow has lost the answer
    assert task.retries > 0
    assert task.execute(context) is None


@pytest.mark.parametrize(("user", "by"), [({"id": "1", "name": "aya"}, "aya"), (None, "nobody: the time to answer")])
def test_reject_stops_the_rollout_and_fails_the_task(deploy: Deploy, asked: dict[str, Any], user: Any, by: str) -> None:
    with pytest.raises(RolloutStoppedError, match=f"{by}.* has stopped rollout {deploy.rollout_id}"):
        answer(deploy, "Reject", user)
    assert deploy.status() == "stopped"
    assert deploy.ask(lambda rollouts: rollouts.require(deploy.rollout_id)).approvals == []
    task, context = deploy.task("stage_1.approval")
    with pytest.raises(RolloutStoppedError, match="is stopped"):
        task.execute(context)
