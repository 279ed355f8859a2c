"""The fleet as screens show it, on each database that the store runs on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dbgear_airflow_provider.core.errors import QueryError
from dbgear_airflow_provider.core.fleet import FleetStore, HealthRecord, OperationRecord, Overview
from dbgear_airflow_provider.core.tenants import TenantInfo

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def tenant(tenant_id: str, tier: str, region: str = "asia") -> TenantInfo:
    fields: dict[str, Any] = {"customer_name": f"name of {tenant_id}", "customer_code": tenant_id.lower()}
    fields |= {"created_at": NOW, "updated_at": NOW, "isolation_strategy": "schema", "status": "active"}
    return TenantInfo(tenant_id=tenant_id, tier=tier, region=region, **fields)  # type: ignore[arg-type]


def placed(tenant_id: str, version: str) -> list[OperationRecord]:
    fields: dict[str, Any] = {"run_id": "r", "tenant_id": tenant_id, "status": "success", "dry_run": False}
    fields |= {"attempt": 1, "started_at": NOW, "duration_s": 1.0}
    place = {"isolation": "schema", "database": "d", "schema": tenant_id, "checksum": "1" * 64}
    return [
        OperationRecord(operation="provision", details={"target": "main", "instances": {"main": place}}, **fields),
        OperationRecord(
            operation="migrate", details={"instances": {"main": {"version": version, "ledger": "x"}}}, **fields
        ),
    ]


@pytest.fixture
async def overview(store: FleetStore) -> Overview:
    """Three tenants: A is critical and at version 2, B at version 1, C nowhere."""
    found = [tenant("A", "basic"), tenant("B", "enterprise", "europe"), tenant("C", "premium")]
    await store.tenants.record(found, lambda one: None if one.tenant_id == "C" else "main", complete=True)
    for tenant_id, version in (("A", "2"), ("B", "1")):
        for record in placed(tenant_id, version):
            await store.record([record])
    look: dict[str, Any] = {"tenant_id": "A", "target": "main", "checked_at": NOW}
    await store.health.record(
        [HealthRecord(instance="main", status="ok", **look), HealthRecord(instance="test", status="critical", **look)]
    )
    return Overview(store)


async def test_counts_tell_what_is_not_known(overview: Overview) -> None:
    counts = await overview.counts()
    assert counts["tier"] == {"basic": 1, "enterprise": 1, "premium": 1}
    assert counts["region"] == {"asia": 2, "europe": 1}
    assert counts["target"] == {"main": 2, "": 1}
    assert counts["version"] == {"2": 1, "1": 1, "": 1}
    assert counts["health"] == {"critical": 1, "": 2}


@pytest.mark.parametrize(
    ("sort", "descending", "expected"),
    [
        ("tenant_id", False, "ABC"),
        ("tenant_id", True, "CBA"),
        ("tier", False, "ACB"),
        ("region", False, "ACB"),
        ("version", True, "ABC"),
        ("health", False, "ABC"),
        ("target", False, "CAB"),
    ],
)
async def test_orders(overview: Overview, sort: Any, descending: bool, expected: str) -> None:
    found = await overview.search("", sort=sort, descending=descending)
    assert "".join(row.info.tenant_id for row in found.rows) == expected


async def test_a_search_is_in_the_query_language_and_in_pages(overview: Overview) -> None:
    found = await overview.search("region = 'asia'", offset=1, limit=1)
    assert (found.total, [row.info.tenant_id for row in found.rows]) == (2, ["C"])
    assert (await overview.search("  ")).total == 3
    with pytest.raises(QueryError, match="no such field"):
        await overview.search("colour = 'red'")
