"""`airflow dbgear batch deploy-schema` on a real server."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.core.fleet import RolloutRecord
from tests.integration.cli.shell import PROJECT, Shell

ADD = "ALTER TABLE users ADD plan text;"
DEPLOY = ("batch", "deploy-schema", "-o", "json")
ASKING = PROJECT.replace("\"tenant_id = 'T1'\"", "\"tenant_id = 'T1'\", approval: true")


@pytest.fixture
def fleet(shell: Shell) -> Shell:
    """The same, all tenants provisioned, with one script that adds a column."""
    assert shell("tenant", "provision").code == 0
    shell.script("v2.1.sql", ADD)
    return shell


def having(shell: Shell, column: str = "plan") -> list[str]:
    rows = shell.sql(
        "SELECT table_schema FROM information_schema.columns "
        f"WHERE column_name = '{column}' AND table_schema LIKE '{shell.database}%' ORDER BY 1"
    )
    return [name for name in ("T1", "T2", "T3") if (shell.schema(name),) in rows]


def rollout(shell: Shell) -> RolloutRecord:
    (record,) = shell.ask(lambda store: store.rollouts.newest())
    return record


def results(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["tenant"]: row["result"] for row in rows}


def test_the_health_of_the_fleet(fleet: Shell) -> None:
    assert fleet("batch", "deploy-schema").code == 0
    check = ("batch", "healthcheck", "-o", "json")
    done = fleet(*check, "--fail-on", "warning", "--fingerprints", "--query", "tenant_id = 'T9'")
    assert (done.code, done.json()) == (0, [])
    assert "no tenant matches" in done.err
    done = fleet(*check)
    assert done.code == 0, done.err
    assert {row["tenant"]: row["status"] for row in done.json()} == dict.fromkeys(("T1", "T2", "T3"), "ok")
    assert fleet("monitor", "status", "-o", "json").json()["health"][0]["instances"] == 3

    fleet.sql(f'DROP SCHEMA "{fleet.schema("T1")}" CASCADE')
    fleet.script("v2.2.sql", "ALTER TABLE users ADD note text;")
    done = fleet(*check, "--report", "health.json")
    assert done.code == 1
    assert [(row["tenant"], row["status"]) for row in done.json()][-1] == ("T1", "critical")
    assert json.loads(Path("health.json").read_text())["counts"]["critical"] == 1
    assert fleet(*check, "--fail-on", "unreachable", "--report", "health.html").code == 0
    assert "T1" in Path("health.html").read_text()


def test_a_dry_run_prints_the_plan_and_begins_nothing(fleet: Shell) -> None:
    done = fleet(*DEPLOY, "--dry-run", "--report", "plan.json")
    assert done.code == 0
    told = [(row["tenant"], row["stage"], row["scripts"]) for row in done.json()]
    assert told == [("T1", "canary", "2.1"), ("T2", "rest", "2.1"), ("T3", "rest", "2.1")]
    (first, *_) = json.loads(Path("plan.json").read_text())["tenants"]
    assert ADD.rstrip(";") in first["instances"]["main"]["statements"]
    assert having(fleet) == []
    assert fleet.ask(lambda store: store.rollouts.newest()) == []


def test_a_dry_run_fails_for_who_is_going_to_fail_and_not_for_who_is_left_out(fleet: Shell) -> None:
    fleet.tenants("T1", "T2", "T8", "T9", T9="terminated")
    done = fleet(*DEPLOY, "--dry-run", "--filter", "tenant_id IN ('T1', 'T9')")
    assert done.code == 0, done.err
    assert "left out, status: 1 instance" in done.err
    assert "going to fail" not in done.err
    done = fleet(*DEPLOY, "--dry-run", "--filter", "tenant_id != 'T2'")
    assert done.code == 1
    assert "tenant T8 is going to fail" in done.err
    assert "error: dry run: 1 of 3 tenants failed: T8: " in done.err


def test_it_goes_through_the_stages(fleet: Shell) -> None:
    done = fleet(*DEPLOY, "--migration", "migrations/v2.1.sql", "--filter", "tenant_id IN ('T1', 'T2')")
    assert done.code == 0, done.err
    assert results(done.json()) == {"T1": "changed", "T2": "changed"}
    assert having(fleet) == ["T1", "T2"]
    assert rollout(fleet).status == "done"
    record = fleet.ask(lambda store: store.history("T1"))[-1]
    assert (record.operation, record.run_id) == ("migrate", rollout(fleet).id)

    done = fleet(*DEPLOY, "--filter", "tenant_id IN ('T1', 'T2')")
    assert done.code == 0
    assert "nothing to do" in done.err
    assert len(fleet.ask(lambda store: store.rollouts.newest())) == 1


def test_a_failure_stops_it_and_it_goes_on_when_the_script_is_mended(fleet: Shell) -> None:
    fleet.sql(f'ALTER TABLE "{fleet.schema("T1")}".users ADD plan int')
    done = fleet(*DEPLOY, "--report", "out/rollout.html")
    assert done.code == 1
    assert results(done.json()) == {"T2": "pending", "T3": "pending", "T1": "failed"}
    assert "canary: stop: 1 of 1 tenants failed or are not healthy, 0 may" in done.err
    assert rollout(fleet).id in Path("out/rollout.html").read_text()
    assert rollout(fleet).status == "stopped"

    fleet.sql(f'ALTER TABLE "{fleet.schema("T1")}".users DROP plan')
    assert fleet(*DEPLOY, "--resume", rollout(fleet).id).code == 1  # what has failed counts as before
    done = fleet(*DEPLOY, "--resume", rollout(fleet).id, "--retry-failed")
    assert done.code == 0, done.err
    assert having(fleet) == ["T1", "T2", "T3"]
    assert rollout(fleet).status == "done"


def test_lint_refuses_before_anything_is_written(fleet: Shell) -> None:
    fleet.script("v2.2.sql", "DROP TABLE users;")
    done = fleet(*DEPLOY)
    assert done.code == 2
    assert "error: " in done.err
    assert fleet.ask(lambda store: store.rollouts.newest()) == []


def test_without_a_terminal_it_waits_for_approval(fleet: Shell) -> None:
    Path("project.yaml").write_text(ASKING)
    done = fleet(*DEPLOY)
    assert done.code == 3
    assert results(done.json()) == {"T1": "changed", "T2": "pending", "T3": "pending"}
    assert f"nobody to ask: go on with --resume {rollout(fleet).id} --approve" in done.err
    assert rollout(fleet).status == "paused"

    done = fleet(*DEPLOY, "--resume", rollout(fleet).id, "--approve")
    assert done.code == 0, done.err
    assert having(fleet) == ["T1", "T2", "T3"]
    assert [approval["stage"] for approval in rollout(fleet).approvals] == [0]


@pytest.mark.parametrize(("answer", "code", "status"), [("yes", 0, "done"), ("n", 1, "stopped"), ("", 1, "stopped")])
def test_on_a_terminal_it_asks(
    fleet: Shell, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, status: str
) -> None:
    Path("project.yaml").write_text(ASKING)
    person, terminal = os.openpty()
    with open(terminal) as stdin:  # noqa: PTH123 - no path
        monkeypatch.setattr("sys.stdin", stdin)
        os.write(person, f"{answer}\n".encode())
        done = fleet(*DEPLOY)
    os.close(person)
    assert done.code == code, done.err
    assert "go on from canary to rest? [y/N]" in done.err
    assert rollout(fleet).status == status
    assert having(fleet) == (["T1", "T2", "T3"] if code == 0 else ["T1"])


def once(condition: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    """Do something as soon as a condition is there."""

    def watch() -> None:
        deadline = time.monotonic() + 30
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("number", "code", "told"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_interrupted_it_rolls_back_and_can_go_on(fleet: Shell, number: signal.Signals, code: int, told: str) -> None:
    fleet.script("v2.1.sql", f"{ADD}\nSELECT pg_sleep(30);")
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    thread = once(lambda: bool(fleet.sql(sleeping)), lambda: os.kill(os.getpid(), number))
    done = fleet(*DEPLOY)
    thread.join()
    assert done.code == code
    assert told in done.err
    assert f"is paused; go on with --resume {rollout(fleet).id}" in done.err
    assert having(fleet) == []
    assert rollout(fleet).status == "paused"

    fleet.script("v2.1.sql", ADD)
    assert fleet(*DEPLOY, "--resume", rollout(fleet).id).code == 0
    assert having(fleet) == ["T1", "T2", "T3"]
