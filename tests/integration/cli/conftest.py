"""A project and a server for `airflow dbgear`."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from dbgear_airflow_provider.sandbox.postgres import PostgresServer
from tests.integration.cli.shell import PROJECT, TEMPLATE, Shell

# Read when Airflow is first imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="dbgear-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")


@pytest.fixture
def shell(
    postgres: PostgresServer, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> Shell:
    """A project with the tenants T1, T2 and T3, none of which is provisioned."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRFLOW__DBGEAR__PROJECT_FILE", str(tmp_path / "project.yaml"))
    store = {"conn_type": "sqlite", "host": str(tmp_path / "fleet.db")}
    monkeypatch.setenv("AIRFLOW_CONN_DBGEAR_FLEET", json.dumps(store))
    server = {"conn_type": "postgres", "host": postgres.host, "port": postgres.port, "login": postgres.user}
    for target, schema in (("MAIN", database), ("OTHER", "postgres")):
        connection = {**server, "password": postgres.password, "schema": schema}
        monkeypatch.setenv(f"AIRFLOW_CONN_{target}", json.dumps(connection))
    for folder in ("templates", "migrations"):
        (tmp_path / folder).mkdir()
    (tmp_path / "templates" / "schema.j2").write_text(TEMPLATE)
    (tmp_path / "project.yaml").write_text(PROJECT)
    shell = Shell(tmp_path, postgres, database, capsys)
    shell.tenants("T1", "T2", "T3")
    return shell
