"""How the fleet stands, in a few counts: instances, their health, the last runs, the rollouts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from .rollouts import RolloutRecord, RolloutStore
from .tables import UtcDateTime, health, operations, tenant_instances

# Runs are looked for among so many of the last results: the history has no end.
_RESULTS = 100_000
_RUNS = 10
_ROLLOUTS = 5


@dataclass(frozen=True, kw_only=True)
class FleetStatus:
    """How the fleet stood at `read_at` (UTC). Each is a list of JSON objects.

    instances: by target, state and version. health: by target and status, of the last look at each instance. runs: the
    last ones, the newest first; a tenant counts by its last result in the run. rollouts: the newest first, with
    counts of instances; done is of those that are in a stage.
    """

    read_at: datetime
    instances: Sequence[dict[str, Any]]
    health: Sequence[dict[str, Any]]
    runs: Sequence[dict[str, Any]]
    rollouts: Sequence[dict[str, Any]]

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**vars(self), "read_at": _iso(self.read_at)}


class StatusStore:
    """The counts of the fleet store, as `FleetStore.status`. begin: opens a transaction."""

    def __init__(
        self, begin: Callable[[], AbstractAsyncContextManager[AsyncConnection]], rollouts: RolloutStore
    ) -> None:
        self._begin = begin
        self._rollouts = rollouts

    async def read(self) -> FleetStatus:
        """Return how the fleet stands now. Raises SourceUnavailableError."""
        async with self._begin() as connection:
            instances = await connection.execute(_INSTANCES)
            healths = await connection.execute(_HEALTH)
            runs = await connection.execute(_runs())
        return FleetStatus(
            read_at=datetime.now(UTC),
            instances=_in_order(_rows(instances)),
            health=_in_order(_rows(healths)),
            runs=[{**row, "started_at": _iso(row["started_at"])} for row in _rows(runs)],
            rollouts=[await self._told(record) for record in await self._rollouts.newest(_ROLLOUTS)],
        )

    async def _told(self, record: RolloutRecord) -> dict[str, Any]:
        counts = await self._rollouts.counts(record.id)
        taken = {status: count for status, count in counts.items() if status != "skipped"}
        return {
            "rollout": record.id,
            "version": record.version,
            "status": record.status,
            "instances": sum(taken.values()),
            "done": sum(count for status, count in taken.items() if status in {"changed", "unchanged"}),
            "failed": taken.get("failed", 0),
            "pending": taken.get("pending", 0),
            "updated_at": _iso(record.updated_at),
        }


def _counted(table: sa.Table, *names: str) -> sa.Select[Any]:
    columns = [table.c[name] for name in names]
    return sa.select(*columns, sa.func.count().label("instances")).group_by(*columns)


_INSTANCES = _counted(tenant_instances, "target", "state", "version")
_HEALTH = _counted(health, "target", "status")


def _runs() -> sa.Select[Any]:
    recent = sa.select(sa.func.coalesce(sa.func.max(operations.c.id), 0) - _RESULTS).scalar_subquery()
    last = (
        sa.select(sa.func.max(operations.c.id))
        .where(operations.c.id > recent, operations.c.operation != "sync_source")
        .group_by(operations.c.run_id, operations.c.operation, operations.c.tenant_id)
    )
    of_run = (operations.c.run_id, operations.c.operation, operations.c.dry_run)

    def having(status: str) -> sa.ColumnElement[int]:
        return sa.func.count(sa.case((operations.c.status == status, 1)))

    return (
        sa.select(
            *of_run,
            sa.type_coerce(sa.func.min(operations.c.started_at), UtcDateTime).label("started_at"),
            having("success").label("success"),
            having("error").label("error"),
        )
        .where(operations.c.id.in_(last))
        .group_by(*of_run)
        .order_by(sa.func.max(operations.c.id).desc())
        .limit(_RUNS)
    )


def _rows(result: sa.CursorResult[Any]) -> list[dict[str, Any]]:
    # SQLAlchemy's names of columns are a kind of str that YAML does not know.
    return [{str(name): value for name, value in row.items()} for row in result.mappings()]


def _in_order(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    # Not by the database: PostgreSQL's NULLs are last, MySQL's first, and each has its own order of texts.
    return sorted(rows, key=lambda row: [value or "" for value in row.values()][:-1])


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
