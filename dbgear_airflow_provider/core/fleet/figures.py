"""Figures of the whole fleet for metrics: by a few queries, whatever the number of tenants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from .tables import UtcDateTime, alerts, health, operations, rollout_members, rollouts, tenant_instances, tenants

# Upper bounds of a histogram, in seconds; what is above the last one is in no bucket but the whole.
BUCKETS_S: Sequence[float] = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
Outcome = tuple[str, str]  # (operation, status)


@dataclass
class OperationTotals:
    """All operations that were counted so far, without dry runs. buckets: as many as BUCKETS_S, each of itself alone.

    counted: the id of the last one. One object goes on counting: the history is read once, then only what is new.
    """

    counts: Counter[Outcome] = field(default_factory=Counter)
    seconds: dict[Outcome, float] = field(default_factory=dict)
    buckets: dict[Outcome, list[int]] = field(default_factory=dict)
    counted: int = 0
    seen: int | None = None


@dataclass(frozen=True, kw_only=True)
class FleetFigures:
    """How the fleet stands. Counts by what their names say; times are aware, UTC; None: never.

    tenants: by (status, tier, region, target), "" where no rule places them; instances: by (target, state, version);
    fingerprints: different ones by target; health: by (target, status); size_bytes: by target; rollouts: by status;
    members: of running rollouts, by (rollout, status); alerts: (rule, severity) of those that are broken.
    """

    tenants: Mapping[tuple[str, str, str, str], int]
    instances: Mapping[tuple[str, str, str], int]
    fingerprints: Mapping[str, int]
    health: Mapping[tuple[str, str], int]
    size_bytes: Mapping[str, int]
    checked_at: datetime | None
    rollouts: Mapping[str, int]
    members: Mapping[tuple[str, str], int]
    alerts: Sequence[tuple[str, str]]


class FigureStore:
    """Figures of the fleet store, as `FleetStore.figures`. begin: opens a transaction."""

    def __init__(self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]]) -> None:
        self._begin = begin

    async def read(self) -> FleetFigures:
        """Return how the fleet stands now. Raises SourceUnavailableError."""
        async with self._begin() as connection:

            async def rows(query: sa.Select[Any]) -> Sequence[Any]:
                return list(await connection.execute(query))

            ((checked_at,),) = await rows(_CHECKED)
            return FleetFigures(
                tenants={(*of, target or ""): count for *of, target, count in await rows(_TENANTS)},
                instances={
                    (target, state, version or ""): count for target, state, version, count in await rows(_INSTANCES)
                },
                fingerprints=dict(await rows(_FINGERPRINTS)),
                health={(target, status): count for target, status, count in await rows(_HEALTH)},
                size_bytes={target: int(size or 0) for target, size in await rows(_SIZES)},
                checked_at=checked_at,
                rollouts=dict(await rows(_ROLLOUTS)),
                members={(rollout, status): count for rollout, status, count in await rows(_MEMBERS)},
                alerts=[(rule, severity) for rule, severity in await rows(_ALERTS)],
            )

    async def count(self, totals: OperationTotals) -> None:
        """Add to the totals what is new, up to what the last call has seen: a transaction may commit out of turn."""
        async with self._begin() as connection:
            newest = int(await connection.scalar(sa.select(sa.func.coalesce(sa.func.max(operations.c.id), 0))) or 0)
            upto = newest if totals.seen is None else totals.seen
            counted = await connection.execute(_TOTALS, {"after": totals.counted, "upto": upto})
            for operation, status, count, seconds, *buckets in counted:
                outcome = (operation, status)
                totals.counts[outcome] += count
                totals.seconds[outcome] = totals.seconds.get(outcome, 0.0) + float(seconds or 0)
                before = totals.buckets.setdefault(outcome, [0] * len(BUCKETS_S))
                totals.buckets[outcome] = [old + int(new or 0) for old, new in zip(before, buckets, strict=True)]
            totals.counted, totals.seen = upto, newest


def _counted(*columns: sa.Column[Any]) -> sa.Select[Any]:
    return sa.select(*columns, sa.func.count()).group_by(*columns)


def _buckets() -> Sequence[sa.ColumnElement[int]]:
    duration, bounds = operations.c.duration_s, [-1.0, *BUCKETS_S]
    return [
        sa.func.sum(sa.case((sa.and_(duration > low, duration <= high), 1), else_=0))
        for low, high in zip(bounds, BUCKETS_S, strict=False)
    ]


_T, _I, _H = tenants.c, tenant_instances.c, health.c
_TENANTS = _counted(_T.status, _T.tier, _T.region, _T.target).where(_T.removed_at.is_(None))
_INSTANCES = _counted(_I.target, _I.state, _I.version)
_FINGERPRINTS = sa.select(_I.target, sa.func.count(sa.distinct(_I.fingerprint))).group_by(_I.target)
_HEALTH = _counted(_H.target, _H.status)
_SIZES = sa.select(_H.target, sa.func.sum(_H.size_bytes)).group_by(_H.target)
_CHECKED = sa.select(sa.type_coerce(sa.func.max(_H.checked_at), UtcDateTime))
_ROLLOUTS = _counted(rollouts.c.status)
_MEMBERS = _counted(rollout_members.c.rollout_id, rollout_members.c.status).where(
    rollout_members.c.rollout_id.in_(sa.select(rollouts.c.id).where(rollouts.c.status == "running"))
)
_ALERTS = sa.select(alerts.c.rule, alerts.c.severity).order_by(alerts.c.rule)
_O = operations.c
_TOTALS = (
    sa.select(_O.operation, _O.status, sa.func.count(), sa.func.sum(_O.duration_s), *_buckets())
    .where(_O.id > sa.bindparam("after"), _O.id <= sa.bindparam("upto"), ~_O.dry_run)
    .group_by(_O.operation, _O.status)
)
