"""/dbgear/metrics: read by Prometheus' own parser, for who has the token."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dbgear_airflow_provider.core.fleet import (
    BUCKETS_S,
    FleetFigures,
    FleetStore,
    OperationRecord,
    OperationTotals,
)

TOKEN = "a-token-of-the-tests"
PROJECT = """
multi_tenant:
  tenant_registry: {config: {csv: {path: tenants.csv}}}
  targets: {main: {connection_id: main}}
  monitoring: {enabled: true, metrics_endpoint: /metrics}
"""


@pytest.fixture
def get(
    tmp_path: Path, connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., httpx.Response]:
    """Ask the application as Airflow's API server has it mounted: get(path, token)."""
    from starlette.applications import Starlette

    from dbgear_airflow_provider.plugins import metrics
    from dbgear_airflow_provider.plugins.plugin import DbgearPlugin

    monkeypatch.setenv("AIRFLOW__DBGEAR__PROJECT_FILE", str(tmp_path / "project.yaml"))
    monkeypatch.setenv("AIRFLOW__DBGEAR__METRICS_TOKEN", TOKEN)
    monkeypatch.setattr(metrics, "_page", metrics._Page())
    connection("dbgear_fleet", conn_type="sqlite", host=str(tmp_path / "fleet.db"))
    (tmp_path / "project.yaml").write_text(PROJECT)
    root = Starlette()
    (mounted,) = DbgearPlugin.fastapi_apps
    root.mount(mounted["url_prefix"], mounted["app"])

    async def ask(path: str, token: str | None, method: str) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(root), base_url="http://airflow") as client:
            return await client.request(method, path, headers=headers)

    return lambda path="/dbgear/metrics", token=TOKEN, method="GET": asyncio.run(ask(path, token, method))


def record(folder: Path, *records: OperationRecord) -> None:
    async def write() -> None:
        store = FleetStore(f"sqlite+aiosqlite:///{folder / 'fleet.db'}")
        await store.prepare()
        await store.record(records)
        await store.aclose()

    asyncio.run(write())


def test_prometheus_reads_it(get: Callable[..., Any], tmp_path: Path) -> None:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {"run_id": "r", "operation": "migrate", "dry_run": False, "attempt": 1, "started_at": now}
    record(
        tmp_path,
        OperationRecord(tenant_id="A", status="success", duration_s=0.02, **fields),
        OperationRecord(tenant_id="B", status="success", duration_s=7, **fields),
        OperationRecord(tenant_id="C", status="error", duration_s=500, **fields),
    )
    answer = get()
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    counts = {sample.labels["outcome"]: sample.value for sample in families["dbgear_operations"].samples}
    assert counts == {"success": 2, "error": 1}
    histogram = families["dbgear_operation_duration_seconds"]
    assert histogram.type == "histogram"
    of_success = [sample for sample in histogram.samples if sample.labels["outcome"] == "success"]
    buckets = {item.labels["le"]: item.value for item in of_success if item.name.endswith("_bucket")}
    assert [buckets[bound] for bound in ("0.01", "0.025", "5.0", "10.0", "+Inf")] == [0, 1, 1, 2, 2]
    assert [item.value for item in of_success if item.name.endswith("_sum")] == [7.02]
    assert all(family.documentation for family in families.values())


@pytest.mark.parametrize("token", [None, "", "another", TOKEN + "x", TOKEN[:-1]])
def test_without_the_token_nothing_is_told(get: Callable[..., Any], token: str | None) -> None:
    answer = get(token=token)
    assert answer.status_code == 401
    assert "dbgear" not in answer.text


def test_where_no_token_is_set_the_path_is_not_there(get: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DBGEAR__METRICS_TOKEN", "")
    assert get().status_code == 404
    assert get(token="").status_code == 404


def test_other_paths_methods_and_a_project_without_monitoring(get: Callable[..., Any], tmp_path: Path) -> None:
    assert get("/dbgear/other").status_code == 404
    assert get("/dbgear/").status_code == 404
    assert get(method="POST").status_code == 405
    (tmp_path / "project.yaml").write_text(PROJECT.replace("endpoint: /metrics", "endpoint: /figures"))
    assert [get().status_code, get("/dbgear/figures").status_code] == [404, 200]
    (tmp_path / "project.yaml").write_text(PROJECT.replace("enabled: true", "enabled: false"))
    assert get().status_code == 404


def test_a_store_that_is_away_is_told(get: Callable[..., Any], connection: Callable[..., None], tmp_path: Path) -> None:
    connection("dbgear_fleet", conn_type="sqlite", host=str(tmp_path / "nowhere" / "fleet.db"))
    answer = get()
    assert answer.status_code == 503
    assert "fleet store" in answer.text


def test_the_dashboard_for_grafana_asks_for_metrics_that_there_are() -> None:
    dashboard = json.loads((Path(__file__).resolve().parents[3] / "include/grafana/dbgear-fleet.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for expression in expressions for name in re.findall(r"dbgear_\w+", expression)}
    figures = FleetFigures(
        tenants={("active", "basic", "jp", "main"): 1},
        instances={("main", "provisioned", "1"): 1},
        fingerprints={"main": 1},
        health={("main", "ok"): 1},
        size_bytes={"main": 1},
        checked_at=datetime.now(UTC),
        rollouts={"running": 1},
        members={("r", "pending"): 1},
        alerts=[("down", "critical")],
    )
    migrated = ("migrate", "success")
    totals = OperationTotals(Counter({migrated: 1}), {migrated: 1.0}, {migrated: [0] * len(BUCKETS_S)})
    from dbgear_airflow_provider.plugins.metrics import rendered

    told = rendered(figures, totals).decode()
    there = {sample.name for family in text_string_to_metric_families(told) for sample in family.samples}
    assert asked <= there
    assert len(asked) >= 9
