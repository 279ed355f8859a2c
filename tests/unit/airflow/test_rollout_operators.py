"""The operators of a rollout that do not need a server, or find none."""

from __future__ import annotations

from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import RolloutStoppedError, TenantsFailedError
from tests.deploying import Deploy
from tests.unit.rollout.fleet import member

STAGE = {"name": "all", "budget": {"count": 0}, "soak_s": 0, "approval": False, "health": True}


def batch(*tenant_ids: str) -> dict[str, Any]:
    return {"index": 0, "target": "main", "tenant_ids": list(tenant_ids), "selected_at": "2026-01-01T00:00:00+00:00"}


def stopped(deploy: Deploy) -> None:
    deploy.ask(lambda rollouts: rollouts.set_status(deploy.rollout_id, "stopped", of=["running"]))


# Batches.


def test_each_target_has_the_tenants_of_the_stage_that_live_on_it_and_are_not_done(deploy: Deploy) -> None:
    deploy.tenants({"T1": "one", "T2": "two", "T3": "three", "T9": "nine"})
    members = [
        member("T1", "pending"),
        member("T2"),
        member("T3", "pending", stage=1),
        member("T9", "pending"),  # no rule places it
        member("gone", "pending"),
    ]
    deploy.begun([STAGE, {**STAGE, "name": "rest"}], members)
    (cut,) = deploy.run("stage_1.main.batches")
    assert (cut["target"], cut["tenant_ids"]) == ("main", ["T1"])
    assert deploy.run("stage_1.other.batches") == []
    (cut,) = deploy.run("stage_2.main.batches")
    assert cut["tenant_ids"] == ["T3"]


def test_an_instance_waits_for_the_one_before_it(deploy: Deploy) -> None:
    deploy.begun([STAGE], [member("T1", "failed", instance="test"), member("T1", "pending"), member("T2", "pending")])
    (cut,) = deploy.run("stage_1.main.batches")
    assert cut["tenant_ids"] == ["T2"]


# Migrating.


def test_tenants_that_were_not_begun_make_the_task_skipped_for_none_of_them_has_failed(deploy: Deploy) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    deploy.begun([STAGE], [member("T1", "pending", from_version=""), member("T2", "pending", from_version="")])
    stopped(deploy)
    with pytest.raises(AirflowSkipException, match="2 of 2 tenants were not begun: the rollout stopped"):
        deploy.run("stage_1.main.migrate", batch("T1", "T2"))
    assert deploy.members() == {"T1": "pending", "T2": "pending"}


def test_tenants_that_were_begun_in_part_make_the_task_fail(deploy: Deploy) -> None:
    deploy.begun([STAGE], [member("T1"), member("T2", "pending", from_version="")])
    stopped(deploy)
    with pytest.raises(RolloutStoppedError, match="1 of 2 tenants were not begun"):
        deploy.run("stage_1.main.migrate", batch("T1", "T2"))


def test_a_tenant_that_fails_makes_its_task_fail_at_once_with_its_cause(deploy: Deploy) -> None:
    deploy.begun([STAGE], [member("T1", "pending", from_version=""), member("T2")])
    with pytest.raises(TenantsFailedError, match="1 of 1 tenants failed.*T1: .*127.0.0.1") as failed:
        deploy.run("stage_1.main.migrate", batch("T1"))
    assert failed.value.details["tenant_ids"] == ["T1"]
    assert deploy.members() == {"T1": "failed", "T2": "changed"}
    # A retry of the task, which the failed one is no reason for, does not try it again.
    with pytest.raises(TenantsFailedError):
        deploy.run("stage_1.main.migrate", batch("T1"))


def test_what_is_done_already_is_told_by_a_retry_of_the_task(deploy: Deploy) -> None:
    deploy.begun([STAGE], [member("T1"), member("T2", "unchanged"), member("T3", stage=1)])
    assert deploy.run("stage_1.main.migrate", batch("T1", "T2")) == {"changed": 1, "unchanged": 1}
    task, _ = deploy.task("stage_1.main.migrate", batch("T1", "T2"), tenants_in_flight=2)
    assert (task.batch_label, task.in_flight) == ("T1 to T2 (2 tenants)", 2)


# The health of what was changed.


def test_a_tenant_that_cannot_be_read_any_more_is_not_healthy(deploy: Deploy) -> None:
    deploy.begun([STAGE], [member("T1"), member("T2", "unchanged")])
    deploy.xcoms["stage_1.main.batches", "return_value"] = []
    with pytest.raises(RolloutStoppedError, match="1 of 2 tenants failed or are not healthy.*not healthy: T1"):
        deploy.run("stage_1.gate")


# The end.


def test_a_rollout_that_has_reached_everybody_is_done(deploy: Deploy) -> None:
    deploy.begun([STAGE], [member("T1"), member("T2", "unchanged"), member("T3", "skipped", stage=None)])
    summary = deploy.run("summarize")
    assert (summary["rollout"], summary["status"]) == (deploy.rollout_id, "done")
    assert {name: summary[name] for name in ("changed", "unchanged", "failed", "pending", "skipped")} == {
        "changed": 1,
        "unchanged": 1,
        "failed": 0,
        "pending": 0,
        "skipped": 1,
    }
    assert deploy.report()["status"] == deploy.status() == "done"
    assert summary["report"].endswith("/tenant_deploy_schema/run_1/rollout.json")


@pytest.mark.parametrize("status", ["failed", "pending"])
def test_a_rollout_that_has_not_fails_the_run_and_says_so_before(deploy: Deploy, status: str) -> None:
    deploy.begun([STAGE], [member("T1"), member("T2", status)])
    with pytest.raises(RolloutStoppedError, match=f"is stopped: 1 changed, 1 {status}"):
        deploy.run("summarize")
    assert deploy.xcoms["summarize", "summary"][status] == 1
    assert deploy.status() == "stopped"


def test_a_rollout_that_somebody_has_paused_stays_so(deploy: Deploy) -> None:
    deploy.begun([STAGE], [member("T1")])
    deploy.ask(lambda rollouts: rollouts.set_status(deploy.rollout_id, "paused", of=["running"]))
    with pytest.raises(RolloutStoppedError, match="is paused"):
        deploy.run("summarize")


def test_a_rollout_is_undone_when_nothing_is_left_to_undo(deploy: Deploy) -> None:
    deploy.begun([STAGE], [member("T1", error="the server was away"), member("T2", "undone")])
    deploy.xcoms["plan", "summary"]["action"] = "undo"
    stopped(deploy)
    with pytest.raises(TenantsFailedError, match="1 instances are not undone: T1/main: the server was away") as failed:
        deploy.run("summarize")
    assert failed.value.details["tenant_ids"] == ["T1"]
    undone = [member("T1", "undone")]
    deploy.ask(lambda rollouts: rollouts.record_undoing(deploy.rollout_id, undone))
    assert deploy.run("summarize")["status"] == deploy.status() == "undone"


def test_after_a_dry_run_the_end_is_the_plan(deploy: Deploy) -> None:
    summary = {"rollout": None, "action": "deploy", "version": "2.0", "tenants": 3, "stages": 2, "report": "plan.json"}
    deploy.xcoms["plan", "summary"] = summary
    assert deploy.run("summarize") == summary


def test_where_the_plan_has_failed_nothing_was_begun(deploy: Deploy) -> None:
    with pytest.raises(RolloutStoppedError, match="task plan failed: nothing was begun"):
        deploy.run("summarize")
