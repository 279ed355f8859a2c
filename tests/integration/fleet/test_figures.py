"""Figures for metrics out of the fleet store, on each database that it runs on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from dbgear_airflow_provider.core.fleet import (
    AlertRecord,
    FingerprintRecord,
    FleetStore,
    HealthRecord,
    OperationRecord,
    OperationTotals,
    RolloutMember,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def done(tenant_id: str, seconds: float, status: str = "success", **fields: Any) -> OperationRecord:
    defaults: dict[str, Any] = {"run_id": "r", "operation": "migrate", "dry_run": False, "attempt": 1}
    return OperationRecord(
        tenant_id=tenant_id, status=status, started_at=NOW, duration_s=seconds, **{**defaults, **fields}
    )


def provisioned(tenant_id: str, target: str = "main") -> OperationRecord:
    place = {"isolation": "schema", "database": "d", "schema": tenant_id, "checksum": "1" * 64}
    details = {"target": target, "instances": {"main": place}}
    return done(tenant_id, 0.2, operation="provision", details=details)


async def test_an_empty_fleet(store: FleetStore) -> None:
    figures = await store.figures.read()
    assert (figures.instances, figures.health, figures.checked_at, figures.alerts) == ({}, {}, None, [])
    totals = OperationTotals()
    await store.figures.count(totals)
    assert totals.counts == {}


async def test_how_a_fleet_stands(store: FleetStore) -> None:
    await store.record([provisioned("A"), provisioned("B"), provisioned("C", "other")])
    await store.record([done("A", 1, details={"instances": {"main": {"version": "2", "ledger": "x"}}})])
    await store.record_fingerprints(
        [FingerprintRecord(tenant_id=id_, instance="main", fingerprint=id_, checked_at=NOW) for id_ in ("A", "B", "C")]
    )
    looks = [("A", "ok", 100), ("B", "critical", 50), ("C", "unreachable", None)]
    await store.health.record(
        [
            HealthRecord(tenant_id=id_, instance="main", target="main", status=status, checked_at=NOW, size_bytes=size)  # type: ignore[arg-type]
            for id_, status, size in looks
        ]
    )
    await store.rollouts.create("one", version="1", query="true", stages=[])
    await store.rollouts.add_members("one", [RolloutMember(tenant_id="A", instance="main", stage=0)])
    await store.rollouts.create("two", version="2", query="true", stages=[])
    await store.rollouts.set_status("two", "done", of=["running"])
    await store.alerts.replace([AlertRecord(rule="down", severity="critical", since=NOW, value=1, text="x")])
    figures = await store.figures.read()
    assert figures.instances == {
        ("main", "provisioned", "2"): 1,
        ("main", "provisioned", ""): 1,
        ("other", "provisioned", ""): 1,
    }
    assert figures.fingerprints == {"main": 2, "other": 1}
    assert figures.health == {("main", "ok"): 1, ("main", "critical"): 1, ("main", "unreachable"): 1}
    assert figures.size_bytes == {"main": 150}
    assert figures.checked_at == NOW
    assert figures.rollouts == {"running": 1, "done": 1}
    assert figures.members == {("one", "pending"): 1}
    assert figures.alerts == [("down", "critical")]


async def test_operations_are_counted_once_each_and_on_the_next_look_what_is_new(store: FleetStore) -> None:
    totals = OperationTotals()
    await store.record([done("A", 0.02), done("B", 0.3), done("C", 400, "error"), done("D", 9, dry_run=True)])
    await store.figures.count(totals)
    assert totals.counts == {("migrate", "success"): 2, ("migrate", "error"): 1}
    assert totals.seconds["migrate", "success"] == pytest.approx(0.32)
    assert totals.buckets["migrate", "success"] == [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert sum(totals.buckets["migrate", "error"]) == 0  # longer than all of them
    await store.record([done("E", 0)])
    await store.figures.count(totals)  # a transaction with a lower id may still come: what is new waits for one look
    await store.figures.count(totals)
    await store.figures.count(totals)
    assert totals.counts["migrate", "success"] == 3
    assert totals.buckets["migrate", "success"][0] == 1
