"""The DAG `tenant_deploy_schema` on a running Airflow: good scripts reach all tenants, a bad one only the canary."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.sandbox.environment import TENANTS_DATABASE
from dbgear_airflow_provider.sandbox.stack import Stack

DAG_ID = "tenant_deploy_schema"
TIMEOUT_S = 300
READING_S = 5
# {tenant_id: (schema, prefix of its names)}; the last one shares a schema with others.
TENANTS = {
    "T0013": ("bksilk_asia_main", ""),
    "T0018": ("riogrande_latam_main", ""),
    "T0021": ("yamada_japan_main", ""),
    "T0022": ("lodz_europe_main", ""),
    "T0025": ("smithdrop_us_main", ""),
    "T0032": ("shared", "kiwi_main_"),
}
CANARIES = ["T0013", "T0032"]
QUERY = f"tenant_id IN ({', '.join(repr(tenant) for tenant in TENANTS)})"
STAGES = [
    {"name": "canary", "query": f"tenant_id IN ({', '.join(map(repr, CANARIES))})", "approval": True},
    {"name": "rest"},
]
PROJECT_SCRIPTS = ["1.1", "1.2", "1.3"]
NEXT = """\
-- migrate:up
CREATE TABLE ${PREFIX}audit (id bigint PRIMARY KEY, what text NOT NULL);

-- migrate:down
-- dbgear:allow ban-drop-table: nobody has written anything into it yet
DROP TABLE ${PREFIX}audit;
"""


class Deploys:
    """Runs of the DAG for the tenants, and what the tenants have."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = stack.airflow.client

    def start(self, **conf: Any) -> str:
        return self.client.trigger(DAG_ID, {"query": QUERY, "dry_run": False, "stages": json.dumps(STAGES), **conf})

    def wait(self, run_id: str, dag_id: str = DAG_ID) -> str:
        return str(self.stack.airflow.wait_until(lambda: self.client.outcome(dag_id, run_id), run_id, TIMEOUT_S))

    def succeeds(self, run_id: str) -> None:
        assert self.wait(run_id) == "success", (self.states(run_id), self.report(run_id))

    def questions(self, run_id: str) -> list[dict[str, Any]]:
        """Return what a person is asked now, on the page of required actions."""
        answer = self.client.request(
            "GET",
            f"/dags/{DAG_ID}/dagRuns/{run_id}/hitlDetails",
            params={"state": "awaiting_input", "response_received": False},
        )
        return list(answer["hitl_details"])

    def asked(self, run_id: str) -> dict[str, Any]:
        """Return what a person is asked, as soon as it is."""

        def question() -> Any:
            assert self.client.outcome(DAG_ID, run_id) is None, "the run has ended, and nobody was asked"
            return self.questions(run_id)

        (found,) = self.stack.airflow.wait_until(question, "the question", TIMEOUT_S)
        return dict(found)

    def approve(self, run_id: str) -> None:
        """Approve whenever it is asked, as a person does, until the run ends well.

        Airflow may lose an answer that comes while the worker is still on its way out, and tries the task again: so a
        question is read before it is answered.
        """
        read: dict[str, float] = {}

        def ended() -> str | None:
            for question in self.questions(run_id):
                if time.monotonic() - read.setdefault(question["task_instance"]["id"], time.monotonic()) < READING_S:
                    continue
                task_id = question["task_instance"]["task_id"]
                path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
                self.client.request("PATCH", path, json={"chosen_options": ["Approve"], "params_input": {}})
            return self.client.outcome(DAG_ID, run_id)

        outcome = self.stack.airflow.wait_until(ended, run_id, TIMEOUT_S)
        assert outcome == "success", (self.states(run_id), self.report(run_id))

    def states(self, run_id: str) -> dict[str, set[str]]:
        """Return {task id: states of its instances}."""
        found: dict[str, set[str]] = {}
        for task in self.client.task_instances(DAG_ID, run_id):
            found.setdefault(task["task_id"], set()).add(task["state"])
        return found

    def folder(self, run_id: str) -> Path:
        return self.stack.reports / DAG_ID / run_id.replace(":", "_")

    def report(self, run_id: str, name: str = "rollout") -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.folder(run_id) / f"{name}.json").read_text())
        return report

    def tenants(self, run_id: str, status: str) -> list[str]:
        """Return the tenants of a status in a run's report."""
        return [item["tenant_id"] for item in self.report(run_id)["instances"] if item["status"] == status]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with self.stack.postgres.connect(TENANTS_DATABASE) as connection:
            cursor = connection.execute(sql)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def versions(self) -> dict[str, list[str]]:
        """Return {tenant_id: the versions in its ledger}."""
        return {
            tenant_id: sorted(
                version
                for (version,) in self.query(f'SELECT version FROM {schema}."{prefix}dbgear_migrations"')
                if version[0].isdigit()
            )
            for tenant_id, (schema, prefix) in TENANTS.items()
        }

    def having(self, table: str) -> list[str]:
        """Return the tenants that have a table."""
        found = set(self.query("SELECT schemaname, tablename FROM pg_tables"))
        return [id_ for id_, (schema, prefix) in TENANTS.items() if (schema, prefix + table) in found]


@pytest.fixture(scope="module")
def deploys(airflow_sandbox: Stack) -> Deploys:
    client = airflow_sandbox.airflow.client
    deploys = Deploys(airflow_sandbox)
    for dag_id in ("tenant_provision", DAG_ID):
        airflow_sandbox.airflow.wait_until(lambda dag_id=dag_id: client.dag(dag_id), "reading the DAG", 120)  # type: ignore[misc]
        client.unpause(dag_id)
    run_id = client.trigger("tenant_provision", {"query": QUERY, "dry_run": False})
    assert deploys.wait(run_id, "tenant_provision") == "success"
    return deploys


def test_a_deploy_reaches_all_tenants_in_stages_after_a_person_has_approved_the_canary(deploys: Deploys) -> None:
    run_id = deploys.start()
    question = deploys.asked(run_id)
    assert question["subject"] == "Rollout to version 1.3: go on from canary to rest?"
    assert "To come: 4 tenants in 1 stage" in question["body"]
    assert deploys.versions() == {id_: PROJECT_SCRIPTS if id_ in CANARIES else [] for id_ in TENANTS}

    deploys.approve(run_id)
    assert deploys.versions() == dict.fromkeys(TENANTS, PROJECT_SCRIPTS)
    assert deploys.having("notifications") == list(TENANTS)
    report = deploys.report(run_id)
    assert (report["status"], report["counts"]["changed"]) == ("done", len(TENANTS))
    assert [stage["approved_by"] for stage in report["stages"]] == ["admin", None]
    assert "canary" in (deploys.folder(run_id) / "rollout.html").read_text()
    states = deploys.states(run_id)
    assert states["stage_2.main.migrate"] == {"success"}
    assert states["stage_2.approval"] == states["stage_3.gate"] == states["undo.main.undo"] == {"skipped"}


def test_a_second_deploy_has_nothing_to_do_and_asks_nobody(deploys: Deploys) -> None:
    run_id = deploys.start()
    deploys.succeeds(run_id)
    assert deploys.tenants(run_id, "skipped") == list(TENANTS)
    assert {group["kind"]: group["tenants"] for group in deploys.report(run_id)["left_out"]} == {"current": 6}
    assert deploys.states(run_id)["stage_1.main.migrate"] == {"skipped"}


def test_a_bad_deploy_stops_at_the_canary_is_mended_and_undone(deploys: Deploys, tmp_path: Path) -> None:
    (tmp_path / "v2.0_audit.sql").write_text(NEXT)
    for path in (deploys.stack.project.parent / "migrations").glob("*.sql"):
        (tmp_path / path.name).write_text(path.read_text())
    # Somebody has made a table of that name by hand.
    deploys.query('CREATE TABLE shared."kiwi_main_audit" (mine text)')
    bad = deploys.start(migration=str(tmp_path))
    assert deploys.wait(bad) == "failed"
    rollout = deploys.report(bad)["rollout"]
    assert deploys.report(bad)["status"] == "stopped"
    assert deploys.tenants(bad, "failed") == ["T0032"]
    assert {id_ for id_, versions in deploys.versions().items() if "2.0" in versions} <= set(CANARIES)
    assert "already exists" in deploys.report(bad)["failures"][0]["example"]
    states = deploys.states(bad)
    assert states["stage_1.gate"] == states["summarize"] == {"failed"}
    for task_id in ("stage_1.approval", "stage_2.main.batches", "stage_2.main.migrate"):
        assert states[task_id] == {"upstream_failed"}, task_id

    deploys.query('DROP TABLE shared."kiwi_main_audit"')
    mended = deploys.start(action="retry", rollout=rollout)
    deploys.asked(mended)
    assert deploys.having("audit") == CANARIES
    deploys.approve(mended)
    assert deploys.versions() == {id_: [*PROJECT_SCRIPTS, "2.0"] for id_ in TENANTS}
    assert deploys.report(mended)["rollout"] == rollout

    undone = deploys.start(action="undo", rollout=rollout)
    deploys.succeeds(undone)
    assert deploys.versions() == dict.fromkeys(TENANTS, PROJECT_SCRIPTS)
    assert deploys.having("audit") == []
    assert deploys.report(undone)["status"] == "undone"
    assert deploys.states(undone)["stage_1.gate"] == {"skipped"}
