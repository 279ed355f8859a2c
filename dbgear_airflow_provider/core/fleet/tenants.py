"""What the fleet store keeps of tenants: the registry, as it was when it was last read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..tenants import TenantInfo
from .recorder import BATCH_ROWS
from .retrying import again
from .tables import tenants
from .upserting import upsert


@dataclass(frozen=True, kw_only=True)
class TenantRecord:
    """A tenant as the registry had it at seen_at (aware, UTC). target: None where no rule places it."""

    info: TenantInfo
    target: str | None
    seen_at: datetime


class TenantStore:
    """Tenants in the fleet store, as `FleetStore.tenants`. All is safe to repeat, and in several processes at once.

    begin: opens a transaction. Methods raise SourceUnavailableError when the database cannot be reached.
    """

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]], dialect: str) -> None:
        self._begin = begin
        self._dialect = dialect

    async def record(
        self, found: Iterable[TenantInfo], target_of: Callable[[TenantInfo], str | None], *, complete: bool
    ) -> None:
        """Keep tenants as they are. complete: they are all that there are, so any other one is marked as removed."""
        now = datetime.now(UTC)
        # In one order everywhere, so that two writers seldom deadlock.
        ordered = sorted(found, key=lambda tenant: tenant.tenant_id)
        rows = [_row(tenant, target_of(tenant), now) for tenant in ordered]
        gone: list[str] = []
        if complete:
            gone = sorted(await self._present() - {tenant.tenant_id for tenant in ordered})
        # Batch by batch: a long transaction would hold up the tasks of the other targets, which write the same rows.
        for start in range(0, len(rows), BATCH_ROWS):
            await again(partial(self._execute, upsert(tenants, self._dialect), rows[start : start + BATCH_ROWS]))
        for start in range(0, len(gone), BATCH_ROWS):
            those = tenants.c.tenant_id.in_(gone[start : start + BATCH_ROWS])
            await again(partial(self._execute, sa.update(tenants).where(those).values(removed_at=now)))

    async def all(self) -> list[TenantRecord]:
        """Return all that are not removed, ordered by tenant_id (by code point)."""
        query = sa.select(tenants.c.info, tenants.c.target, tenants.c.seen_at).where(tenants.c.removed_at.is_(None))
        async with self._begin() as connection:
            rows = (await connection.execute(query)).all()
        return await asyncio.to_thread(_records, rows)  # ten thousand take a good part of a second

    async def mark(self) -> dict[datetime, int]:
        """Return how many were seen when: while it is the same, so is `all`."""
        seen = sa.select(tenants.c.seen_at, sa.func.count()).where(tenants.c.removed_at.is_(None))
        async with self._begin() as connection:
            rows = await connection.execute(seen.group_by(tenants.c.seen_at))
            return {row[0]: row[1] for row in rows}

    async def _present(self) -> set[str]:
        async with self._begin() as connection:
            return set(await connection.scalars(sa.select(tenants.c.tenant_id).where(tenants.c.removed_at.is_(None))))

    async def _execute(self, statement: Any, rows: list[dict[str, Any]] | None = None) -> None:
        async with self._begin() as connection:
            await connection.execute(statement, rows)


def _records(rows: Sequence[Any]) -> list[TenantRecord]:
    records = [
        TenantRecord(info=TenantInfo.model_validate(info), target=target, seen_at=seen_at)
        for info, target, seen_at in rows
    ]
    return sorted(records, key=lambda record: record.info.tenant_id)


def _row(tenant: TenantInfo, target: str | None, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": tenant.tenant_id,
        "status": tenant.status,
        "tier": tenant.tier,
        "region": tenant.region,
        "target": target,
        "info": tenant.model_dump(mode="json"),
        "seen_at": now,
        "removed_at": None,
    }
