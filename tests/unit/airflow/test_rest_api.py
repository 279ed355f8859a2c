"""/dbgear/api/v1: what it tells, and that it tells nothing to who may not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from dbgear_airflow_provider.core.fleet import FleetStore, OperationRecord, RolloutMember
from dbgear_airflow_provider.core.tenants import TenantInfo

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

ROLLOUT = "tenant_deploy_schema/manual__2026-01-02T03:04:05.678901+00:00"  # as a run of the DAG names it


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, connection: Callable[..., None]) -> Iterator[FastAPI]:
    """The application on a fleet store of the test's own."""
    from dbgear_airflow_provider.plugins.web import api, opened
    from dbgear_airflow_provider.plugins.web.application import application

    connection("dbgear_fleet", conn_type="sqlite", host=str(tmp_path / "fleet.db"))
    monkeypatch.setattr(opened, "opened", opened._Opened())
    found = application()
    yield found
    found.dependency_overrides.pop(api.may_read, None)


@pytest.fixture
async def reader(app: FastAPI, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client that may read a fleet of three tenants and a rollout."""
    from dbgear_airflow_provider.plugins.web import api, opened

    store = FleetStore(f"sqlite+aiosqlite:///{tmp_path / 'fleet.db'}")
    await store.prepare()
    fields: dict[str, Any] = {"created_at": NOW, "updated_at": NOW, "isolation_strategy": "schema", "status": "active"}
    fields |= {"customer_name": "客先", "region": "asia", "tier": "basic"}
    await store.tenants.record(
        [TenantInfo(tenant_id=name, customer_code=name.lower(), **fields) for name in ("A", "B", "C")],
        lambda _: "main",
        complete=True,
    )
    done: dict[str, Any] = {"status": "success", "dry_run": False, "attempt": 1, "started_at": NOW, "duration_s": 1.0}
    await store.record([OperationRecord(run_id=f"r{n}", tenant_id="A", operation="render", **done) for n in range(150)])
    await store.rollouts.create(ROLLOUT, version="1", query="true", stages=[{"name": "all"}])
    await store.rollouts.add_members(
        ROLLOUT, [RolloutMember(tenant_id=name, instance="main", stage=0) for name in "AB"]
    )
    await store.aclose()
    app.dependency_overrides[api.may_read] = lambda: None
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://airflow") as client:
        yield client
    await opened.opened.aclose()


def paths(app: FastAPI) -> list[str]:
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    assert len(routes) == len(app.routes) >= 7  # nothing is served in another way
    return [route.path_format.replace("{tenant_id}", "A").replace("{rollout_id}", ROLLOUT) for route in routes]


async def statuses(app: FastAPI, **kwargs: Any) -> set[int]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://airflow", **kwargs) as client:
        return {(await client.get(path)).status_code for path in paths(app)}


async def test_nobody_is_told_anything_without_a_login(app: FastAPI) -> None:
    assert await statuses(app) == {401}


@pytest.mark.parametrize(("role", "expected"), [(None, {403}), ("VIEWER", {200})])
async def test_a_login_alone_does_not_do(
    app: FastAPI, reader: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, role: str | None, expected: set[int]
) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.api_fastapi.core_api import security

    from dbgear_airflow_provider.plugins.web import api

    app.dependency_overrides.pop(api.may_read)
    monkeypatch.setattr(security, "get_auth_manager", SimpleAuthManager)
    monkeypatch.setattr(security.DagModel, "get_team_name", lambda _: None)  # it asks Airflow's database
    monkeypatch.setitem(
        app.dependency_overrides, security.get_user, lambda: SimpleAuthManagerUser(username="somebody", role=role)
    )
    assert await statuses(app) == expected


async def test_every_path_of_the_description_answers_as_described(app: FastAPI, reader: httpx.AsyncClient) -> None:
    described = (await reader.get("/api/v1/openapi.json")).json()["paths"]
    assert {path.replace("{tenant_id}", "A").replace("{rollout_id}", ROLLOUT) for path in described} == {
        path for path in paths(app) if not path.endswith("openapi.json")
    }


async def test_a_search_with_pages(reader: httpx.AsyncClient) -> None:
    answer = await reader.get("/api/v1/tenants", params={"query": "tenant_id IN ('A', 'B')", "offset": 1, "limit": 1})
    found = answer.json()
    assert (found["total"], [row["info"]["tenant_id"] for row in found["rows"]]) == (2, ["B"])


async def test_a_wrong_search_tells_where(reader: httpx.AsyncClient) -> None:
    answer = await reader.get("/api/v1/tenants", params={"query": "colour = 'red'"})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("query, column 1: no such field; received 'colour'")


@pytest.mark.parametrize("params", [{"limit": 501}, {"limit": 0}, {"offset": -1}, {"sort": "colour"}])
async def test_pages_have_bounds(reader: httpx.AsyncClient, params: dict[str, Any]) -> None:
    assert (await reader.get("/api/v1/tenants", params=params)).status_code == 422


async def test_a_tenant_with_its_last_operations(reader: httpx.AsyncClient) -> None:
    page = (await reader.get("/api/v1/tenants/A")).json()
    assert page["tenant"]["info"]["customer_name"] == "客先"
    assert [item["run_id"] for item in page["operations"]] == [f"r{number}" for number in range(149, 49, -1)]
    assert (await reader.get("/api/v1/tenants/Z")).status_code == 404


async def test_counts_and_a_rollout(reader: httpx.AsyncClient) -> None:
    counts = (await reader.get("/api/v1/overview")).json()
    assert counts["tenants"]["tier"] == {"basic": 3}
    assert (await reader.get("/api/v1/rollouts")).json()[0]["counts"] == {"pending": 2}
    members = (await reader.get(f"/api/v1/rollouts/{ROLLOUT}/members", params={"status": "pending", "limit": 1})).json()
    assert (members["total"], members["rows"][0]["tenant_id"]) == (2, "A")
    assert (await reader.get(f"/api/v1/rollouts/{ROLLOUT}")).json()["id"] == ROLLOUT
    for path in ("/api/v1/rollouts/two", "/api/v1/rollouts/two/members"):
        assert (await reader.get(path)).status_code == 404


async def test_many_requests_share_one_store(reader: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(reader.get("/api/v1/tenants") for _ in range(20)))
    assert {answer.json()["total"] for answer in answers} == {3}
