"""Airflow as a library: a home of its own, no metadata database."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.deploying import Deploy

# Read when Airflow is first imported.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="dbgear-airflow-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

# Of two targets, and of stages each of which promotion may make two of.
PROJECT = """\
multi_tenant:
  tenant_registry: {config: {csv: {path: tenants.csv}}}
  targets: {main: {connection_id: main}, other: {connection_id: other}}
  placement: [{query: "tenant_id != 'T9'", target: main}]
  rollout:
    migrations: migrations
    promotion: [test, main]
    stages: [{name: canary, count: 1}, {name: rest}]
  automation: {tenants_in_flight: 3}
"""


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define an Airflow connection: connection("an_id", conn_type=..., ...)."""

    def define(conn_id: str, **fields: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return define


@pytest.fixture
def deploy(tmp_path: Path, connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """The DAG `tenant_deploy_schema` of a project whose servers are not there."""
    monkeypatch.setenv("AIRFLOW__DBGEAR__PROJECT_FILE", str(tmp_path / "project.yaml"))
    monkeypatch.setenv("AIRFLOW__DBGEAR__REPORT_DIR", (tmp_path / "reports").as_uri())
    connection("dbgear_fleet", conn_type="sqlite", host=str(tmp_path / "fleet.db"))
    for target in ("main", "other"):
        connection(target, conn_type="postgres", host="127.0.0.1", port=1, login="x", schema="x")
    found = Deploy(tmp_path, PROJECT)
    found.tenants({"T1": "one", "T2": "two", "T3": "three"})
    found.script("2.0", "SELECT 1;")
    return found
