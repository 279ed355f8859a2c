"""Figures for alerts out of the fleet store, on each database that it runs on, and what it keeps of alerts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from dbgear_airflow_provider.core.alerts import measure
from dbgear_airflow_provider.core.fleet import AlertRecord, FleetStore, OperationRecord
from dbgear_airflow_provider.core.fleet.tables import health
from dbgear_airflow_provider.core.settings import AlertRule

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def figure(store: FleetStore, name: str, **rule: Any) -> tuple[float, int | None, list[str]] | None:
    found = await measure(store, AlertRule(name="x", measure=name, **rule), NOW)  # type: ignore[arg-type]
    return None if found is None else (found.value, found.of, list(found.examples))


def looked(tenant_id: str, status: str, *problems: tuple[str, str], instance: str = "main") -> dict[str, Any]:
    return {
        "tenant_id": tenant_id,
        "instance": instance,
        "target": "main",
        "status": status,
        "checked_at": NOW - timedelta(hours=5),
        "problems": [{"kind": "x", "severity": severity, "text": text} for severity, text in problems],
    }


def done(tenant_id: str, status: str = "success", minutes: float = 10, **fields: Any) -> OperationRecord:
    defaults = {"run_id": "r", "operation": "migrate", "dry_run": False, "attempt": 1, "duration_s": 1.0}
    error = f"{tenant_id} is broken" if status == "error" else None
    started_at = NOW - timedelta(minutes=minutes)
    return OperationRecord(
        tenant_id=tenant_id, status=status, started_at=started_at, error=error, **{**defaults, **fields}
    )


async def test_health(store: FleetStore) -> None:
    for name in ("tenants_unreachable", "tenants_critical", "tenants_warning", "health_age_hours"):
        assert await figure(store, name) is None  # nobody has looked yet
    rows = [
        looked("A", "unreachable"),
        looked("A", "unreachable", ("critical", "no answer"), instance="test"),
        looked("B", "critical", ("warning", "large"), ("critical", "sequence at 99 %")),
        looked("C", "ok"),
        *(looked(f"D{number}", "warning", ("warning", f"size {number}")) for number in range(9)),
    ]
    async with store._begin() as connection:
        await connection.execute(sa.insert(health), rows)
    assert await figure(store, "tenants_unreachable") == (1, 12, ["A/main: unreachable", "A/test: no answer"])
    assert await figure(store, "tenants_critical") == (1, 12, ["B/main: sequence at 99 %"])
    assert await figure(store, "tenants_warning") == (9, 12, [f"D{number}/main: size {number}" for number in range(5)])
    assert await figure(store, "health_age_hours") == (5, None, [])


async def test_operations_that_failed(store: FleetStore) -> None:
    assert await figure(store, "tenants_failed") == (0, None, [])
    assert await figure(store, "failed_percent") is None
    await store.record(
        [
            done("A", "error", minutes=50),
            done("A", minutes=40),  # mended since
            done("B", minutes=50),
            done("B", "error", minutes=40),
            done("C", "error", minutes=61),  # too long ago
            done("D", "error", dry_run=True),
            done("E"),
            done("F", "error", operation="provision"),
            done("F", operation="migrate"),  # another operation mends nothing
        ]
    )
    failed = ["B: migrate: B is broken", "F: provision: F is broken"]
    assert await figure(store, "tenants_failed") == (2, None, failed)
    assert await figure(store, "failed_percent") == (50, 4, failed)
    assert await figure(store, "tenants_failed", within=20) == (1, None, failed[1:])


async def test_rollouts_that_stopped(store: FleetStore) -> None:
    for number, status in enumerate(("running", "stopped", "done", "stopped")):
        await store.rollouts.create(f"r{number}", version=f"{number}.0", query="true", stages=[])
        if status != "running":
            await store.rollouts.set_status(f"r{number}", status, of=["running"])  # type: ignore[arg-type]
    found = await measure(store, AlertRule(name="x", measure="rollouts_stopped"), datetime.now(UTC))
    assert found is not None
    assert (found.value, set(found.examples)) == (2, {"r1 to version 1.0", "r3 to version 3.0"})
    later = datetime.now(UTC) + timedelta(minutes=2)
    found = await measure(store, AlertRule(name="x", measure="rollouts_stopped", within=1), later)
    assert found is not None
    assert found.value == 0


async def test_what_is_kept_of_alerts(store: FleetStore) -> None:
    alerts = [
        AlertRecord(rule="a", severity="warning", since=NOW, value=1.5, text="日本語 😀", told=["ops"]),
        AlertRecord(rule="b", severity="critical", since=NOW, value=2, text="x", told=[]),
    ]
    await store.alerts.replace(alerts[::-1])
    assert await store.alerts.all() == alerts
    await store.alerts.replace([])
    assert await store.alerts.all() == []
