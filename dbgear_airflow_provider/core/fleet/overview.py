"""The fleet as screens show it: counted, searched, sorted and cut into pages."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from ..tenants import TenantInfo, TenantQuery
from .store import FleetStore
from .tables import health, tenant_instances
from .tenants import TenantRecord

SortKey = Literal["tenant_id", "customer_name", "region", "tier", "status", "target", "version", "health"]

_FRESH_S = 2.0
_TIERS = ("basic", "standard", "premium", "enterprise")
_HEALTH = ("unreachable", "critical", "warning", "ok")  # the worst first


@dataclass(frozen=True, kw_only=True)
class TenantRow:
    """A tenant and how it stands. target: None where no rule places it. health: the worst of its instances.

    versions: different ones of its instances' newest migrations. Both are empty where nobody has looked.
    """

    info: TenantInfo
    target: str | None
    versions: Sequence[str] = ()
    health: str | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A page of tenants, and how many there are in all."""

    total: int
    rows: Sequence[TenantRow]


class Overview:
    """All tenants with how they stand, read from the store at most every two seconds.

    Methods raise SourceUnavailableError when the store cannot be reached.
    """

    def __init__(self, store: FleetStore) -> None:
        self._store = store
        self._rows: Sequence[TenantRow] = ()
        self._records: Sequence[TenantRecord] = ()
        self._mark: Mapping[datetime, int] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def rows(self) -> Sequence[TenantRow]:
        """Return all tenants, ordered by tenant_id."""
        async with self._reading:
            if self._read_at is None or time.monotonic() - self._read_at > _FRESH_S:
                self._rows = await self._read()
                self._read_at = time.monotonic()
            return self._rows

    async def search(
        self, query: str, *, sort: SortKey = "tenant_id", descending: bool = False, offset: int = 0, limit: int = 50
    ) -> Found:
        """Return a page of the tenants that match a query; an empty one: of all. Raises QueryError."""
        wanted = TenantQuery.parse(query) if query.strip() else None
        rows = await self.rows()
        return await asyncio.to_thread(
            _page, rows, wanted, sort=sort, descending=descending, offset=offset, limit=limit
        )

    async def counts(self) -> dict[str, dict[str, int]]:
        """Return how many tenants there are by status, tier, region, target, version and health; "": not known."""
        rows = await self.rows()
        return {name: dict(Counter(part(row) for row in rows).most_common()) for name, part in _PARTS.items()}

    async def _read(self) -> list[TenantRow]:
        mark = await self._store.tenants.mark()  # before they are read: what comes in between is read next time
        if mark != self._mark:
            self._records, self._mark = await self._store.tenants.all(), mark
        versions: defaultdict[str, set[str]] = defaultdict(set)
        for row in await self._store.rows(sa.select(tenant_instances.c.tenant_id, tenant_instances.c.version)):
            if row["version"]:
                versions[row["tenant_id"]].add(row["version"])
        looks: defaultdict[str, set[str]] = defaultdict(set)
        for row in await self._store.rows(sa.select(health.c.tenant_id, health.c.status)):
            looks[row["tenant_id"]].add(row["status"])
        return [
            TenantRow(
                info=record.info,
                target=record.target,
                versions=sorted(versions.get(record.info.tenant_id, ())),
                health=next((status for status in _HEALTH if status in looks.get(record.info.tenant_id, ())), None),
            )
            for record in self._records
        ]


_PARTS: Mapping[str, Callable[[TenantRow], str]] = {
    "status": lambda row: row.info.status,
    "tier": lambda row: row.info.tier,
    "region": lambda row: row.info.region,
    "target": lambda row: row.target or "",
    "version": lambda row: ", ".join(row.versions),
    "health": lambda row: row.health or "",
}
_KEYS: Mapping[SortKey, Callable[[TenantRow], Any]] = {
    "tenant_id": lambda row: row.info.tenant_id,
    "customer_name": lambda row: row.info.customer_name,
    "region": lambda row: row.info.region,
    "tier": lambda row: _TIERS.index(row.info.tier),
    "status": lambda row: row.info.status,
    "target": lambda row: row.target or "",
    "version": lambda row: list(row.versions),
    "health": lambda row: _HEALTH.index(row.health) if row.health else len(_HEALTH),
}


def _page(
    rows: Sequence[TenantRow], query: TenantQuery | None, *, sort: SortKey, descending: bool, offset: int, limit: int
) -> Found:
    matching = [row for row in rows if query is None or query.matches(row.info)]
    ordered = sorted(matching, key=_KEYS[sort], reverse=descending)  # equal ones stay in the order of tenant_id
    return Found(total=len(matching), rows=ordered[offset : offset + limit])
