"""What the fleet store keeps of health: the last look at each instance, and earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from .recorder import BATCH_ROWS
from .tables import health, health_history
from .upserting import upsert

HealthStatus = Literal["ok", "warning", "critical", "unreachable"]


@dataclass(frozen=True, kw_only=True)
class HealthRecord:
    """A look at an instance. problems: JSON, {kind, severity, text, value, limit}. checked_at is aware, UTC."""

    tenant_id: str
    instance: str
    target: str
    status: HealthStatus
    checked_at: datetime
    latency_s: float | None = None
    size_bytes: int | None = None
    connections: int | None = None
    problems: Sequence[dict[str, Any]] = ()


class HealthStore:
    """Health in the fleet store, as `FleetStore.health`. begin: opens a transaction."""

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]], dialect: str) -> None:
        self._begin = begin
        self._dialect = dialect

    async def record(self, records: Sequence[HealthRecord]) -> None:
        """Keep looks, as the last ones and in the history. Safe to repeat."""
        ordered = sorted(records, key=lambda record: (record.tenant_id, record.instance))  # no deadlocks
        kept = {column.name for column in health_history.c}
        for start in range(0, len(ordered), BATCH_ROWS):
            rows = [vars(record) for record in ordered[start : start + BATCH_ROWS]]
            async with self._begin() as connection:
                await connection.execute(upsert(health, self._dialect), rows)
                past = [{name: value for name, value in row.items() if name in kept} for row in rows]
                await connection.execute(upsert(health_history, self._dialect), past)

    async def latest(self, tenant_id: str | None = None) -> list[HealthRecord]:
        """Return the last look at each instance, of one tenant or of all, ordered by tenant and name."""
        query = sa.select(health).order_by(health.c.tenant_id, health.c.instance)
        if tenant_id is not None:
            query = query.where(health.c.tenant_id == tenant_id)
        async with self._begin() as connection:
            return [HealthRecord(**row) for row in (await connection.execute(query)).mappings()]

    async def sizes_before(self, moment: datetime) -> dict[tuple[str, str], tuple[datetime, int]]:
        """Return {(tenant_id, instance): (when, bytes)} of the last look before a moment that told a size."""
        past = health_history
        known = sa.and_(past.c.checked_at < moment, past.c.size_bytes.is_not(None))
        last = (
            sa.select(past.c.tenant_id, past.c.instance, sa.func.max(past.c.checked_at).label("at"))
            .where(known)
            .group_by(past.c.tenant_id, past.c.instance)
            .subquery()
        )
        on = sa.and_(
            past.c.tenant_id == last.c.tenant_id, past.c.instance == last.c.instance, past.c.checked_at == last.c.at
        )
        query = sa.select(past.c.tenant_id, past.c.instance, past.c.checked_at, past.c.size_bytes)
        async with self._begin() as connection:
            rows = await connection.execute(query.select_from(past.join(last, on)))
            return {(tenant_id, instance): (at, size) for tenant_id, instance, at, size in rows}

    async def forget_before(self, moment: datetime) -> None:
        """Throw earlier looks than that away, and the last ones at what has not been looked at since."""
        async with self._begin() as connection:
            for table in (health_history, health):
                await connection.execute(sa.delete(table).where(table.c.checked_at < moment))
