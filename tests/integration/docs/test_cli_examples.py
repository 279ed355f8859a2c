"""Every line of the page on the command line, and those of the README, run one after the other on the sample fleet."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.sandbox.postgres import EmbeddedPostgres

# Read when Airflow is first imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="dbgear-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

ROOT = Path(__file__).parents[3]
SCRIPT = "-- migrate:up\nCREATE TABLE discounts (id bigint PRIMARY KEY);\n"


@pytest.fixture
def sample(short_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPostgres]:
    """The sample project on a server of its own, by environment variables; tmp_path is where the user is."""
    sample = ROOT / "include"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRFLOW__DBGEAR__PROJECT_FILE", str(sample / "project.yaml"))
    monkeypatch.setenv("DBGEAR_CREDENTIALS_DIR", str(tmp_path / "credentials"))
    with EmbeddedPostgres(short_dir, settings={"fsync": "off"}) as server:
        server.create_database("tenants")
        files = {"path": str(sample / "registry" / "tenants.csv"), "config_dir": str(sample / "registry" / "configs")}
        main = {"host": server.host, "port": server.port, "login": server.user, "password": server.password}
        connections = {
            "REGISTRY": {"conn_type": "sqlite", "host": str(tmp_path / "registry.db")},
            "FLEET": {"conn_type": "sqlite", "host": str(tmp_path / "fleet.db")},
            "SOURCE_CRM": {"conn_type": "dbgear_csv", "extra": files},
            "TARGET_MAIN": {"conn_type": "postgres", "schema": "tenants", **main},
        }
        for name, connection in connections.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_DBGEAR_{name}", json.dumps(connection))
        yield server
    shutil.rmtree(short_dir / "data", ignore_errors=True)


def lines() -> list[list[str]]:
    """Return the words of all commands, in their order."""
    pages = [(ROOT / page).read_text() for page in ("docs/cli.md", "README.md")]
    blocks = re.findall(r"^```sh\n(.*?)^```$", "\n".join(pages), re.DOTALL | re.MULTILINE)
    commands = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(command) for command in commands if command.startswith("airflow dbgear ")]


@pytest.mark.usefixtures("sample")
def test_every_line_runs(tmp_path: Path, capsys: Any) -> None:
    from airflow.cli import cli_parser

    def run(*words: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            args = cli_parser.get_parser().parse_args(words)
            args.func(args)
        output = capsys.readouterr()
        assert ended.value.code == 0, (words, output.err)
        return output

    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "v2.1.sql").write_text(SCRIPT)
    told = {}
    for _, *words in lines():
        if "healthcheck" in words:  # the others have been there for long
            run("dbgear", "tenant", "provision")
        told[" ".join(words)] = run(*words)
    assert len(lines()) == 17

    assert "44 added" in told["dbgear tenant sync --source crm --dry-run"].err
    provisioned = told["dbgear tenant provision --query status='active' AND tier='premium' --parallel 10"]
    assert "8 of 8 tenants succeeded" in provisioned.err
    assert len(list((tmp_path / "rendered").iterdir())) == 37
    health = json.loads((tmp_path / "health_report.json").read_text())
    assert health["kinds"] == {"behind": len(health["instances"])}  # the sample's migrations are still to come
    assert json.loads((tmp_path / "plan.json").read_text())["dry_run"]
    assert "0 elsewhere" in told["dbgear fleet rebuild"].err
