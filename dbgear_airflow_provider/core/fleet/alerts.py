"""What the fleet store keeps of alerts: which rules are broken, since when, and who knows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from .tables import alerts


@dataclass(frozen=True, kw_only=True)
class AlertRecord:
    """A rule that is broken, as far as anybody knows. since is aware, UTC. told: names of the notifiers that know."""

    rule: str
    severity: str
    since: datetime
    value: float
    text: str
    told: Sequence[str] = ()


class AlertStore:
    """Alerts in the fleet store, as `FleetStore.alerts`. begin: opens a transaction."""

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]]) -> None:
        self._begin = begin

    async def all(self) -> list[AlertRecord]:
        """Return all that is there, ordered by rule."""
        async with self._begin() as connection:
            rows = await connection.execute(sa.select(alerts).order_by(alerts.c.rule))
            return [AlertRecord(**row) for row in rows.mappings()]

    async def replace(self, records: Sequence[AlertRecord]) -> None:
        """Keep these and no others."""
        async with self._begin() as connection:
            await connection.execute(sa.delete(alerts))
            if records:
                await connection.execute(sa.insert(alerts), [vars(record) for record in records])
