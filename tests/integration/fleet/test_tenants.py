"""Tenants in the fleet store, on each database that it runs on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from dbgear_airflow_provider.core.fleet import FleetStore
from dbgear_airflow_provider.core.tenants import TenantInfo

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def tenant(tenant_id: str, **fields: Any) -> TenantInfo:
    given: dict[str, Any] = {
        "customer_name": "客先 (株) 😀",
        "customer_code": tenant_id.lower(),
        "region": "asia",
        "tier": "basic",
        "status": "active",
        "isolation_strategy": "schema",
        "created_at": NOW,
        "updated_at": NOW,
        "billing_info": {"plan": "p", "price": 1.5},
    }
    return TenantInfo(tenant_id=tenant_id, **{**given, **fields})


async def ids(store: FleetStore) -> list[str]:
    return [record.info.tenant_id for record in await store.tenants.all()]


async def test_tenants_are_kept_whole_and_told_in_order(store: FleetStore) -> None:
    found = [tenant("b"), tenant("B"), tenant("a", billing_info=None, instances=["main", "test"])]
    await store.tenants.record(found, lambda one: None if one.tenant_id == "B" else "main", complete=True)
    kept = await store.tenants.all()
    assert [record.info for record in kept] == [found[1], found[2], found[0]]
    assert [record.target for record in kept] == [None, "main", "main"]
    assert all(record.seen_at.tzinfo for record in kept)


async def test_a_second_reading_changes_what_is_kept(store: FleetStore) -> None:
    await store.tenants.record([tenant("a"), tenant("b")], lambda _: "main", complete=True)
    await store.tenants.record([tenant("a", tier="premium")], lambda _: "other", complete=False)
    first, second = await store.tenants.all()
    assert (first.info.tier, first.target) == ("premium", "other")
    assert (second.info.tenant_id, second.info.tier) == ("b", "basic")


async def test_only_a_complete_reading_removes_and_one_that_comes_back_is_there_again(store: FleetStore) -> None:
    await store.tenants.record([tenant("a"), tenant("b")], lambda _: "main", complete=True)
    await store.tenants.record([tenant("a")], lambda _: "main", complete=True)
    assert await ids(store) == ["a"]
    await store.tenants.record([tenant("b")], lambda _: "main", complete=False)
    assert await ids(store) == ["a", "b"]


async def test_many_at_once_that_read_the_same_registry(store: FleetStore) -> None:
    found = [tenant(f"t{number:04}") for number in range(1500)]
    await asyncio.gather(*(store.tenants.record(found, lambda _: "main", complete=True) for _ in range(4)))
    assert await ids(store) == [one.tenant_id for one in found]


async def test_the_mark_tells_of_every_change(store: FleetStore) -> None:
    marks = [await store.tenants.mark()]
    for found in ([tenant("a"), tenant("b")], [tenant("a", tier="premium")], [tenant("a"), tenant("b")]):
        await store.tenants.record(found, lambda _: "main", complete=True)
        marks.append(await store.tenants.mark())
    assert len({tuple(mark.items()) for mark in marks}) == len(marks)
