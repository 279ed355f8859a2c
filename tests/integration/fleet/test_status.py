"""How the fleet stands, and where instances are, on every kind of database that the store runs on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from dbgear_airflow_provider.core.fleet import (
    FingerprintRecord,
    FleetStore,
    InstanceRecord,
    OperationRecord,
    RolloutMember,
)
from dbgear_airflow_provider.core.fleet.tables import health

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def instance(tenant_id: str, **fields: Any) -> InstanceRecord:
    told = {"target": "main", "isolation": "schema", "database_name": "shared", "prefix": "", "version": None}
    told |= {"instance": "main", "schema_name": tenant_id, "checksum": "1" * 64, "ledger": "2" * 64}
    return InstanceRecord(tenant_id=tenant_id, **{**told, **fields})


def result(run_id: str, tenant_id: str, status: str = "success", **fields: Any) -> OperationRecord:
    told = {"operation": "provision", "dry_run": False, "attempt": 1, "started_at": NOW, "duration_s": 1.0}
    return OperationRecord(run_id=run_id, tenant_id=tenant_id, status=status, **{**told, **fields})


async def test_instances_are_replaced_and_forgotten(store: FleetStore) -> None:
    await store.placed.replace([instance("B"), instance("A"), instance("a"), instance("A", instance="test")], [])
    seen = FingerprintRecord(tenant_id="A", instance="main", fingerprint="f" * 64, checked_at=NOW)
    await store.record_fingerprints([seen])
    await store.placed.replace([instance("A", version="2.1", target="other")], [("B", "main"), ("C", "main")])
    assert await store.instances("B") == []
    assert len(await store.instances("a")) == 1  # another tenant than A
    main, test = await store.instances("A")
    assert (main["version"], main["target"], main["state"], main["fingerprint"]) == (
        "2.1",
        "other",
        "provisioned",
        "f" * 64,
    )
    assert (test["version"], test["target"]) == (None, "main")


async def test_a_fleet_in_counts(store: FleetStore) -> None:
    await store.placed.replace(
        [instance("A"), instance("B"), instance("C", version="2.1"), instance("D", target="x")], []
    )
    look = {"instance": "main", "target": "main", "checked_at": NOW, "problems": []}
    async with store._begin() as connection:
        rows = [{"tenant_id": name, "status": "critical" if name == "C" else "ok", **look} for name in "ABC"]
        await connection.execute(sa.insert(health), rows)
    await store.record([result("r1", "A", "error"), result("r1", "B", started_at=NOW + timedelta(seconds=9))])
    await store.record([result("r1", "A", attempt=2, started_at=NOW + timedelta(minutes=1))])  # it was tried again
    await store.record([result("r2", "A", dry_run=True), result("r2", "source crm", operation="sync_source")])
    stages = [{"name": "all", "budget": {"count": 0}, "soak_s": 0, "approval": False, "health": True}]
    await store.rollouts.create("R", version="2.1", query="all", stages=stages)
    members = [RolloutMember(tenant_id=name, instance="main", stage=0) for name in "ABC"]
    left_out = RolloutMember(tenant_id="D", instance="main", status="skipped")
    await store.rollouts.add_members("R", [*members, left_out])
    await store.rollouts.record("R", [RolloutMember(tenant_id="A", instance="main", status="changed")])
    await store.rollouts.record("R", [RolloutMember(tenant_id="B", instance="main", status="failed")])

    found = (await store.status.read()).document()
    assert found["instances"] == [
        {"target": "main", "state": "provisioned", "version": None, "instances": 2},
        {"target": "main", "state": "provisioned", "version": "2.1", "instances": 1},
        {"target": "x", "state": "provisioned", "version": None, "instances": 1},
    ]
    assert found["health"] == [
        {"target": "main", "status": "critical", "instances": 1},
        {"target": "main", "status": "ok", "instances": 2},
    ]
    dry, real = found["runs"]
    assert (dry["run_id"], dry["dry_run"], dry["success"]) == ("r2", True, 1)
    assert {**real, "dry_run": False} == {
        "run_id": "r1",
        "operation": "provision",
        "dry_run": False,
        "started_at": "2026-01-02T03:04:14+00:00",
        "success": 2,
        "error": 0,
    }
    (rollout,) = found["rollouts"]
    counts = {name: rollout[name] for name in ("status", "instances", "done", "failed", "pending")}
    assert counts == {"status": "running", "instances": 3, "done": 1, "failed": 1, "pending": 1}
