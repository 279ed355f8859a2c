"""What alerts are about: figures of the fleet, by a few queries of the fleet store, whatever the number of tenants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from ..fleet import FleetStore
from ..fleet.tables import health, operations, rollouts
from ..settings import AlertRule

NAMED = 5  # tenants that a message names


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A figure. of: out of how many, where that says something. examples: the first ones, with what is wrong."""

    value: float
    unit: str
    of: int | None = None
    examples: Sequence[str] = field(default=())


async def measure(store: FleetStore, rule: AlertRule, now: datetime) -> Measured | None:
    """Return what a rule asks for; None where there is nothing to say, since nothing was ever looked at.

    now: aware. Raises SourceUnavailableError.
    """
    return await _MEASURES[rule.measure](store, now - timedelta(minutes=rule.within), now)


def _with_health(status: str) -> Callable[[FleetStore, datetime, datetime], Awaitable[Measured | None]]:
    async def tenants(store: FleetStore, _: datetime, __: datetime) -> Measured | None:
        those = health.c.status == status
        everybody = await _number(store, sa.select(_distinct(health.c.tenant_id)))
        if not everybody:
            return None
        first = sa.select(health.c.tenant_id, health.c.instance, health.c.problems).where(those)
        rows = await store.rows(first.order_by(health.c.tenant_id, health.c.instance).limit(NAMED))
        return Measured(
            value=await _number(store, sa.select(_distinct(health.c.tenant_id)).where(those)),
            unit="tenants",
            of=int(everybody),
            examples=[f"{row['tenant_id']}/{row['instance']}: {_problem(row['problems'], status)}" for row in rows],
        )

    return tenants


async def _health_age(store: FleetStore, _: datetime, now: datetime) -> Measured | None:
    (row,) = await store.rows(sa.select(sa.func.max(health.c.checked_at).label("last")))
    return None if row["last"] is None else Measured(value=(now - row["last"]).total_seconds() / 3600, unit="hours")


async def _failed(store: FleetStore, since: datetime, _: datetime) -> Measured:
    last = (
        sa.select(sa.func.max(operations.c.id))
        .where(operations.c.started_at >= since, ~operations.c.dry_run)
        .group_by(operations.c.tenant_id, operations.c.operation)
    )
    table = operations
    those = sa.and_(table.c.id.in_(last), table.c.status == "error")
    first = sa.select(table.c.tenant_id, table.c.operation, table.c.error).where(those)
    rows = await store.rows(first.order_by(table.c.tenant_id, table.c.operation).limit(NAMED))
    return Measured(
        value=await _number(store, sa.select(_distinct(table.c.tenant_id)).where(those)),
        unit="tenants",
        examples=[f"{row['tenant_id']}: {row['operation']}: {row['error']}" for row in rows],
    )


async def _failed_percent(store: FleetStore, since: datetime, now: datetime) -> Measured | None:
    done = sa.select(_distinct(operations.c.tenant_id)).where(operations.c.started_at >= since, ~operations.c.dry_run)
    tenants = await _number(store, done)
    if not tenants:
        return None
    failed = await _failed(store, since, now)
    return Measured(value=100 * failed.value / tenants, unit="% of tenants", of=int(tenants), examples=failed.examples)


async def _rollouts_stopped(store: FleetStore, since: datetime, _: datetime) -> Measured:
    those = (rollouts.c.status == "stopped", rollouts.c.updated_at >= since)
    rows = await store.rows(
        sa.select(rollouts.c.id, rollouts.c.version).where(*those).order_by(rollouts.c.updated_at.desc())
    )
    named = [f"{row['id']} to version {row['version']}" for row in rows[:NAMED]]
    return Measured(value=len(rows), unit="rollouts", examples=named)


_MEASURES: Mapping[str, Callable[[FleetStore, datetime, datetime], Awaitable[Measured | None]]] = {
    "tenants_unreachable": _with_health("unreachable"),
    "tenants_critical": _with_health("critical"),
    "tenants_warning": _with_health("warning"),
    "health_age_hours": _health_age,
    "tenants_failed": _failed,
    "failed_percent": _failed_percent,
    "rollouts_stopped": _rollouts_stopped,
}


def _distinct(column: sa.Column[Any]) -> sa.Label[int]:
    return sa.func.count(sa.distinct(column)).label("number")


async def _number(store: FleetStore, query: sa.Select[Any]) -> float:
    (row,) = await store.rows(query)
    return float(row["number"])


def _problem(problems: Sequence[Mapping[str, Any]], status: str) -> str:
    """Return what is worst, in words."""
    worst = sorted(problems, key=lambda problem: problem.get("severity") != "critical")
    return str(worst[0]["text"]) if worst else status
