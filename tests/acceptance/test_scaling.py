"""`DbgearScaleOperator` with the pools of a running Airflow."""

from __future__ import annotations

import json
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import sqlalchemy as sa

from dbgear_airflow_provider.core.fleet import FleetStore, OperationRecord
from dbgear_airflow_provider.core.fleet.tables import scalings, tenant_instances
from dbgear_airflow_provider.sandbox.stack import Stack

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="dbgear-airflow-"))  # read when Airflow is imported

PROJECT = """
multi_tenant:
  tenant_registry: {config: {csv: {path: tenants.csv}}}
  targets: {scaled: {connection_id: scaled}}
  scaling:
    connection_id: airflow_api
    targets: {scaled: {min_slots: 4, max_slots: 12}}
"""


async def test_a_pool_gets_smaller_while_its_server_suffers_and_it_is_kept_why(
    airflow_sandbox: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = airflow_sandbox.airflow.client
    client.import_pools({"dbgear_scaled": {"slots": 10, "description": "a test", "include_deferred": False}})
    (tmp_path / "project.yaml").write_text(PROJECT)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("AIRFLOW__DBGEAR__PROJECT_FILE", str(tmp_path / "project.yaml"))
    connection = {"conn_type": "http", "host": client.url, "login": "admin", "password": client.password}
    monkeypatch.setenv("AIRFLOW_CONN_AIRFLOW_API", json.dumps(connection))
    connection = {"conn_type": "sqlite", "host": str(tmp_path / "fleet.db")}
    monkeypatch.setenv("AIRFLOW_CONN_DBGEAR_FLEET", json.dumps(connection))
    store = FleetStore(f"sqlite+aiosqlite:///{tmp_path / 'fleet.db'}")
    await store.prepare()
    try:
        await suffer(store, 20)
        assert await run() == {
            "scaled": {"slots": 4, "reason": "20 of 20 operations failed for the server's sake"}
        }  # half of it, and a whole number of tasks
        assert pool(client)["slots"] == 4
        assert pool(client)["description"] == "a test"
        assert await run() == {"scaled": {"slots": 4, "reason": None}}
        (kept,) = await store.rows(sa.select(scalings))
        assert (kept["target"], kept["slots_before"], kept["slots_after"]) == ("scaled", 10, 4)
        assert kept["load"] == {"running": 0, "waiting": 0, "finished": 20, "suffered": 20}
    finally:
        await store.aclose()


def pool(client: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", client.request("GET", "/pools/dbgear_scaled"))


async def run() -> Any:
    from dbgear_airflow_provider.operators.scale import DbgearScaleOperator

    return await DbgearScaleOperator(task_id="scale").aexecute(cast("Any", {}))


async def suffer(store: FleetStore, tenants: int) -> None:
    now, ids = datetime.now(UTC), [f"T{number}" for number in range(tenants)]
    fixed = {"instance": "main", "isolation": "schema", "database_name": "d", "schema_name": "s", "prefix": ""}
    fixed |= {"target": "scaled", "state": "provisioned", "checksum": "", "updated_at": now}
    for id_ in ids:
        await store.insert(tenant_instances, {**fixed, "tenant_id": id_})
    fields: dict[str, Any] = {"run_id": "r", "operation": "migrate", "status": "error", "dry_run": False, "attempt": 1}
    fields |= {"started_at": now, "duration_s": 1, "error_kind": "ServerUnavailableError"}
    await store.record([OperationRecord(tenant_id=id_, **fields) for id_ in ids])
