"""What the fleet store says of a run while it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

_OUTCOMES = """
    SELECT id, tenant_id, status, duration_s, error, details FROM dbgear_operations
    WHERE run_id = %s AND operation = 'provision' ORDER BY id
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One result of one tenant. duration_s in seconds; details as the core's `OperationResult` has them."""

    id: int
    tenant_id: str
    status: str
    duration_s: float
    error: str | None
    details: dict[str, Any] | None

    @property
    def ok(self) -> bool:
        """Whether the operation succeeded."""
        return self.status == "success"

    @property
    def text(self) -> str:
        """What came out, in a word or in the error's own words."""
        if not self.ok:
            return self.error or self.status
        created = (self.details or {}).get("created")
        return "unchanged" if created == 0 else "provisioned"


class RunProgress:
    """The outcomes of a run, as they come in.

    outcomes: the last one of each tenant, by tenant_id.
    """

    def __init__(self, connection: psycopg.Connection[Any], run_id: str) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._cursor = connection.cursor(row_factory=class_row(Outcome))
        self._run_id = run_id
        self._seen: set[int] = set()

    def news(self) -> list[Outcome]:
        """Return the outcomes since the last call, the oldest first; none before the store has its tables."""
        try:
            found = self._cursor.execute(_OUTCOMES, [self._run_id]).fetchall()
        except psycopg.errors.UndefinedTable:
            return []
        # By what was seen, not by the highest id: a lower id may be committed later.
        new = [outcome for outcome in found if outcome.id not in self._seen]
        self._seen.update(outcome.id for outcome in new)
        self.outcomes.update({outcome.tenant_id: outcome for outcome in found})
        return new
