"""What a server tells of its own state and of what is in it, for checks of health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HALF = 0.5  # counters that are used less are not told


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A sequence, or a column that counts up. used: the part of its numbers that are gone, from 0 to 1."""

    name: str
    used: float


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """What the catalog says of a namespace. size_bytes: tables with their indexes.

    locked: tables that somebody has locked for himself alone; their size is that of the last VACUUM or ANALYZE.
    invalid_indexes: that no query uses, `table.index`. counters: those of which more than half is used.
    """

    size_bytes: int = 0
    locked: Sequence[str] = ()
    invalid_indexes: Sequence[str] = ()
    counters: Sequence[Counter] = ()


@dataclass(frozen=True, kw_only=True)
class Busy:
    """A session of somebody's that is in a transaction, or waits for a lock.

    transaction_s: since it began; waits_s: since the statement began that waits; None: it does not. tables: of the
    database that we ask in, (schema, table), as far as the server tells.
    """

    database: str
    role: str
    transaction_s: float
    waits_s: float | None = None
    tables: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What a server is doing. latency_s: of its answer. connections: {(database, role): how many}, of `limit`."""

    latency_s: float
    limit: int
    connections: Mapping[tuple[str, str], int] = field(default_factory=dict)
    busy: Sequence[Busy] = ()

    @property
    def used(self) -> int:
        """Connections that are open, ours among them."""
        return sum(self.connections.values())
