"""`airflow dbgear tenant` on a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.integration.cli.shell import Shell


def test_a_dry_run_prints_what_would_be_done_and_the_report_has_the_statements(shell: Shell) -> None:
    done = shell("tenant", "provision", "--dry-run", "--report", "out/report.json", "-o", "json")
    assert done.code == 0
    assert [(row["tenant"], row["result"]) for row in done.json()] == [(name, "success") for name in ("T1", "T2", "T3")]
    assert "3 of 3 tenants succeeded; a dry run, nothing was changed; run cli/" in done.err
    report = json.loads((shell.folder / "out" / "report.json").read_text())
    assert report["counts"] == {"tenants": 3, "success": 3, "error": 0, "missing": 0, "rejected": 0}
    (statements,) = [item["statements"] for item in report["tenants"][0]["details"]["instances"].values()]
    assert any("CREATE TABLE" in statement for statement in statements)
    assert shell.schemas() == []


def test_provisioning_keeps_its_results_in_the_fleet_store(shell: Shell) -> None:
    done = shell("tenant", "provision", "--query", "tenant_id != 'T3'", "--parallel", "2", "-o", "json")
    assert done.code == 0
    assert all(isinstance(row["seconds"], float) for row in done.json())
    assert shell.schemas() == [shell.schema("T1"), shell.schema("T2")]
    (record,) = shell.ask(lambda store: store.history("T1"))
    assert record.run_id.startswith("cli/20")
    assert (record.operation, record.status, record.dry_run) == ("provision", "success", False)


def test_who_fails_stands_at_the_end_and_the_exit_code_says_so(shell: Shell) -> None:
    shell.sql(f'CREATE SCHEMA "{shell.schema("T1")}"; CREATE TABLE "{shell.schema("T1")}".theirs (id int)')
    done = shell("tenant", "provision", "--parallel", "9", "--output", "plain")
    assert done.code == 1
    lines = done.out.splitlines()
    assert lines[0].split() == ["tenant", "result", "seconds", "objects", "error"]
    assert [line.split()[:2] for line in lines[1:]] == [["T2", "success"], ["T3", "success"], ["T1", "error"]]
    assert "holds objects that were not made by DBGear" in lines[-1]
    assert "2 of 3 tenants succeeded; failed: 1 by OwnershipError; run cli/" in done.err
    assert "4 tenants at once: automation.max_parallel_operations of the project file allows no more" in done.err


def test_tenants_that_would_share_a_name_fail_and_are_kept(shell: Shell) -> None:
    shell.tenants("T1", "t1", "T2")
    done = shell("tenant", "provision", "-o", "json")
    assert done.code == 1
    assert {row["tenant"]: row["result"] for row in done.json()} == {"T1": "error", "t1": "error", "T2": "success"}
    (record,) = shell.ask(lambda store: store.history("t1"))
    assert record.error_kind == "NameClashError"


@pytest.mark.parametrize("output", ["table", "json"])
def test_nothing_selected_is_no_failure(shell: Shell, output: str) -> None:
    done = shell("tenant", "provision", "--query", "tier = 'premium'", "-o", output)
    assert done.code == 0
    assert "no tenant matches: tier = 'premium'" in done.err
    assert done.out == ("[]\n" if output == "json" else "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tenant", "provision", "--query", "colour = 'red'"], "colour"),
        (["tenant", "list", "--config", "nothing.yaml"], "nothing.yaml: cannot be read"),
        (["tenant", "show", "T9"], "T9"),
        (["tenant", "sync", "--source", "crm"], "multi_tenant.sources: no such source of the sync; received 'crm'"),
        (["tenant", "provision", "--dry-run", "--report", "tenants.csv/report.json"], "--report: cannot be written"),
        (["batch", "deploy-schema", "--resume", "R1"], "rollout: no such rollout; received 'R1'"),
        (["batch", "deploy-schema", "--retry-failed"], "--retry-failed: not without --resume"),
        (["batch", "deploy-schema", "--resume", "R1", "--to", "2.1"], "--to: not with --resume; received '2.1'"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(shell: Shell, words: list[str], told: str) -> None:
    done = shell(*words)
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if not line.startswith("3 of 3")]
    assert line.startswith("error: ")
    assert told in line


def test_a_connection_that_is_not_there_is_wrong_input(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_MAIN")
    done = shell("tenant", "provision")
    assert (done.code, done.err) == (2, "error: The conn_id `main` isn't defined\n")


def test_a_server_that_is_away_is_a_failure_of_its_tenants(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "x", "schema": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_MAIN", json.dumps(nobody))
    done = shell("tenant", "provision", "-o", "json")
    assert done.code == 1
    assert {row["result"] for row in done.json()} == {"error"}


def test_the_list_has_a_line_for_each_tenant_and_tells_bad_rows(shell: Shell) -> None:
    shell.tenants("T1", "T2", T2="suspended")
    with (shell.folder / "tenants.csv").open("a") as file:
        file.write("T3,,x,jp,gold,active,2026-01-01,2026-01-01,schema\n")
    done = shell("tenant", "list", "-o", "yaml")
    assert done.code == 0
    first, second = yaml.safe_load(done.out)
    assert first["customer_name"] == "[客] T1"
    assert (first["target"], first["instances"], second["status"]) == ("main", ["main"], "suspended")
    assert "left out: " in done.err
    assert "T3" in done.err or "row" in done.err

    done = shell("tenant", "list", "--query", "status = 'suspended'")
    assert "[客] T2" in done.out  # no markup of rich
    assert "T1" not in done.out


def test_one_tenant_with_where_it_is_and_what_was_done(shell: Shell) -> None:
    shell("tenant", "provision", "--query", "tenant_id = 'T1'")
    done = shell("tenant", "show", "T1", "-o", "json").json()
    assert done["tenant"]["customer_code"] == shell.code("T1")
    assert [(item["target"], item["schema_name"]) for item in done["instances"]] == [("main", shell.schema("T1"))]
    assert [(item["operation"], item["status"]) for item in done["operations"]] == [("provision", "success")]
    table = shell("tenant", "show", "T2").out
    assert "Instances\nnothing yet" in table
    assert shell.code("T2") in table


def test_documents_go_to_stdout_or_into_a_folder(shell: Shell) -> None:
    done = shell("tenant", "render", "--query", "tenant_id = 'T1'")
    assert done.code == 0
    assert list(yaml.safe_load(done.out)["T1"]["schemas"]["main"]["schemas"]) == [shell.schema("T1")]
    done = shell("tenant", "render", "--directory", "rendered")
    assert (done.code, done.out) == (0, "")
    assert sorted(path.name for path in (shell.folder / "rendered").iterdir()) == ["T1.yaml", "T2.yaml", "T3.yaml"]

    (shell.folder / "templates" / "schema.j2").write_text("schemas: {{ nothing }}")
    done = shell("tenant", "render", "--query", "tenant_id = 'T1'")
    assert done.code == 1
    assert "tenant T1: " in done.err
    assert "0 of 1 tenants rendered" in done.err


SYNCED = """
multi_tenant:
  tenant_registry: {provider: database, connection_id: registry}
  sources: {crm: {provider: csv, config: {csv: {path: tenants.csv}}}}
  targets: {main: {connection_id: main}}
"""


def test_a_sync_shows_the_differences_then_writes_them(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = {"conn_type": "sqlite", "host": str(shell.folder / "registry.db")}
    monkeypatch.setenv("AIRFLOW_CONN_REGISTRY", json.dumps(registry))
    config = Path("synced.yaml")
    config.write_text(SYNCED)
    sync = ("tenant", "sync", "--source", "crm", "--config", str(config), "-o", "json")
    listed = ("tenant", "list", "--config", str(config), "-o", "json")

    done = shell(*sync, "--dry-run", "--report", "sync.json")
    assert done.code == 0
    assert [(row["tenant"], row["change"]) for row in done.json()] == [(name, "added") for name in ("T1", "T2", "T3")]
    assert len(json.loads(Path("sync.json").read_text())["added"]) == 3
    assert "a dry run, nothing is written" in done.err
    assert shell(*listed).json() == []

    assert shell(*sync).code == 0
    assert len(shell(*listed).json()) == 3
    assert shell(*sync).json() == []

    shell.tenants("T1")  # a source that has lost most of its tenants
    done = shell(*sync)
    assert done.code == 1
    assert "refused, nothing is written" in done.err
    assert "--force goes on all the same" in done.err
    assert {row["status"] for row in shell(*listed).json()} == {"active"}
    assert shell(*sync, "--force").code == 0
    assert [row["status"] for row in shell(*listed).json()] == ["active", "terminated", "terminated"]
