"""`airflow dbgear fleet` and `monitor`, without a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.integration.cli.shell import Shell

REBUILD = ("fleet", "rebuild", "-o", "json")


def states(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["tenant"]: row["state"] for row in rows}


def known(shell: Shell, tenant_id: str) -> dict[str, Any]:
    """Return what the store knows of a tenant's instance, but for when; {} where it knows none."""
    rows = shell.ask(lambda store: store.instances(tenant_id))
    return {name: value for row in rows for name, value in row.items() if not name.endswith("_at")}


def lose(shell: Shell) -> None:
    """Lose the fleet store."""
    (shell.folder / "fleet.db").unlink()


def test_a_lost_store_is_as_it_was(shell: Shell) -> None:
    shell("tenant", "provision", "--query", "tenant_id != 'T3'")
    shell.script("v2.1.sql", "ALTER TABLE users ADD plan text;")
    assert shell("batch", "deploy-schema", "--filter", "tenant_id = 'T1'").code == 0
    assert shell(*REBUILD).code == 0  # takes the fingerprints
    before = {name: known(shell, name) for name in ("T1", "T2")}
    assert before["T1"]["version"] == "2.1"
    assert before["T1"]["fingerprint"] != before["T2"]["fingerprint"]

    lose(shell)
    done = shell(*REBUILD, "--dry-run")
    assert states(done.json()) == {"T1": "provisioned", "T2": "provisioned", "T3": "missing"}
    assert known(shell, "T1") == {}

    done = shell(*REBUILD)
    assert done.code == 0
    assert "instances: 2 found, 0 elsewhere, 1 missing, 0 unread" in done.err
    assert {name: known(shell, name) for name in ("T1", "T2")} == before
    assert known(shell, "T3") == {}


def test_what_is_gone_is_forgotten_and_what_is_elsewhere_is_found(shell: Shell) -> None:
    shell("tenant", "provision")
    shell.sql(f'DROP SCHEMA "{shell.schema("T2")}" CASCADE')
    # The rules have changed since: T3 still is where it was.
    project = shell.folder / "project.yaml"
    placement = "placement: [{query: \"tenant_id = 'T3'\", target: other}, {query: \"tier = 'basic'\", target: main}]"
    project.write_text(
        project.read_text().replace("placement: [{query: \"customer_code != 'nowhere'\", target: main}]", placement)
    )
    done = shell(*REBUILD)
    assert done.code == 0, done.err
    assert [(row["tenant"], row["state"], row["target"], row["note"]) for row in done.json()] == [
        ("T1", "provisioned", "main", None),
        ("T3", "provisioned", "main", "the rules say other"),
        ("T2", "missing", None, None),
    ]
    assert known(shell, "T2") == {}
    assert known(shell, "T3")["target"] == "main"


def test_what_cannot_be_read_stays_as_it_is(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("tenant", "provision")
    shell.sql(f"UPDATE \"{shell.schema('T2')}\".dbgear_migrations SET tenant_id = 'X'")
    done = shell(*REBUILD)
    assert done.code == 1
    assert states(done.json()) == {"T1": "provisioned", "T2": "unread", "T3": "provisioned"}
    assert "belongs to tenant X" in done.out
    assert known(shell, "T2") == {}  # what is there is not its own

    nobody = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "x", "schema": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_MAIN", json.dumps(nobody))
    before = known(shell, "T1")
    done = shell(*REBUILD)
    assert done.code == 1
    assert set(states(done.json()).values()) == {"unread"}
    assert known(shell, "T1") == before


def test_the_status_of_a_new_fleet(shell: Shell) -> None:
    done = shell("monitor", "status")
    assert done.code == 0
    assert done.out.count("nothing yet") == 4
    document = shell("monitor", "status", "-o", "json").json()
    assert [document[name] for name in ("instances", "health", "runs", "rollouts")] == [[], [], [], []]


def test_the_status_counts_instances_runs_and_rollouts(shell: Shell) -> None:
    shell.sql(f'CREATE SCHEMA "{shell.schema("T3")}"; CREATE TABLE "{shell.schema("T3")}".theirs (id int)')
    shell("tenant", "provision")
    shell.script("v2.1.sql", "ALTER TABLE users ADD plan text;")
    shell("batch", "deploy-schema", "--filter", "tenant_id = 'T1'")
    document = shell("monitor", "status", "-o", "json").json()
    assert document["instances"] == [
        {"target": "main", "state": "provisioned", "version": None, "instances": 1},
        {"target": "main", "state": "provisioned", "version": "2.1", "instances": 1},
    ]
    assert [(run["operation"], run["success"], run["error"]) for run in document["runs"]] == [
        ("migrate", 1, 0),
        ("provision", 2, 1),
    ]
    assert yaml.safe_load(shell("monitor", "status", "-o", "yaml").out)["runs"] == document["runs"]
    (rollout,) = document["rollouts"]
    assert (rollout["status"], rollout["version"], rollout["instances"], rollout["done"]) == ("done", "2.1", 1, 1)
    # Where there is no terminal, a dashboard is printed once.
    assert "100 %" in shell("monitor", "status", "--dashboard").out
