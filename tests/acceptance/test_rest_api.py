"""/dbgear/api/v1 of a running Airflow, behind its own login."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from dbgear_airflow_provider.sandbox.stack import Stack


@pytest.fixture
def anonymous(airflow_sandbox: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{airflow_sandbox.airflow.url}/dbgear/api/v1", trust_env=False, timeout=60) as client:
        yield client


@pytest.fixture
def reader(airflow_sandbox: Stack, anonymous: httpx.Client) -> Iterator[httpx.Client]:
    login = {"username": "admin", "password": airflow_sandbox.airflow.client.password}
    answer = anonymous.post(f"{airflow_sandbox.airflow.url}/auth/token", json=login)
    token = answer.raise_for_status().json()["access_token"]
    with httpx.Client(
        base_url=anonymous.base_url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
    ) as signed_in:
        yield signed_in


def test_the_tenants_of_the_sync_are_there_to_be_searched(reader: httpx.Client) -> None:
    everybody = reader.get("/tenants").raise_for_status().json()
    counts = reader.get("/overview").raise_for_status().json()["tenants"]
    assert everybody["total"] == sum(counts["status"].values()) > 0
    wanted = everybody["rows"][0]["info"]["tenant_id"]
    found = reader.get("/tenants", params={"query": f"tenant_id = '{wanted}'"}).json()
    assert [row["info"]["tenant_id"] for row in found["rows"]] == [wanted]
    assert reader.get("/tenants", params={"query": "colour = 'red'"}).status_code == 400


def test_nobody_is_told_anything_without_a_login(reader: httpx.Client, anonymous: httpx.Client) -> None:
    described = reader.get("/openapi.json").raise_for_status().json()
    tenant_id = reader.get("/tenants").json()["rows"][0]["info"]["tenant_id"]
    paths = [path.replace("{tenant_id}", tenant_id).replace("/api/v1", "", 1) for path in described["paths"]]
    assert len(paths) >= 6
    for path in [*paths, "/openapi.json"]:
        assert anonymous.get(path).status_code == 401
        assert anonymous.get(path, headers={"Authorization": "Bearer wrong"}).status_code in {401, 403}
    for path in paths:
        assert reader.get(path).status_code == (404 if "{rollout_id}" in path else 200)
