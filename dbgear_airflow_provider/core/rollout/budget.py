"""The error budget of a stage: how many of its tenants may fail before no new one is begun."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..errors import RolloutStoppedError, SourceUnavailableError
from ..fleet import MemberStatus, RolloutMember, RolloutStore, StageState
from ..settings import BudgetSettings

log = logging.getLogger(__name__)

# The store is asked that often at the most, whatever the number of tenants that begin.
ASK_S = 1.0
# Without an answer from the store for so long, nobody knows of the others' failures.
STALE_S = 30.0


def allowed_failures(budget: BudgetSettings, tenants: int) -> int:
    """Return how many of a stage's tenants may fail; one more, and the budget is spent."""
    if budget.percent is not None:
        return math.floor(Fraction(str(budget.percent)) * tenants / 100)
    return budget.count or 0


@dataclass(frozen=True, kw_only=True)
class TenantGroup:
    """Tenants that failed, or were left out, of the same kind of reason.

    tenant_ids: ordered; example: what the first one's error says.
    """

    kind: str
    tenant_ids: Sequence[str]
    example: str

    def details(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**vars(self), "tenants": len(self.tenant_ids)}


def grouped(members: Iterable[RolloutMember], status: MemberStatus = "failed") -> list[TenantGroup]:
    """Return the tenants of members of a status by the kind of their error, the largest group first."""
    kinds: dict[str, dict[str, str]] = defaultdict(dict)
    for member in members:
        if member.status == status:
            kinds[member.error_kind or "unknown"].setdefault(member.tenant_id, member.error or "")
    groups = [
        TenantGroup(kind=kind, tenant_ids=sorted(errors), example=errors[min(errors)]) for kind, errors in kinds.items()
    ]
    return sorted(groups, key=lambda group: (-len(group.tenant_ids), group.kind))


class ErrorBudget:
    """What tells a running task to begin no new tenant. One object per task; the store tells of the other tasks.

    clock: seconds, monotonic.
    """

    def __init__(
        self,
        store: RolloutStore,
        rollout_id: str,
        stage: int,
        budget: BudgetSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._rollout_id, self._stage, self._budget = store, rollout_id, stage, budget
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked: float | None = None  # the last time
        self._answered: float | None = None
        self._known: StageState | None = None
        # Of this task: the store may not know them yet, and cannot know those that came after it was asked.
        self._failed: set[str] = set()
        self._new: set[str] = set()

    def add(self, result: RolloutMember) -> None:
        """Take the result of an instance of this task, as soon as it is there."""
        if result.status == "failed" and result.tenant_id not in self._failed:
            self._failed.add(result.tenant_id)
            self._new.add(result.tenant_id)

    async def check(self) -> None:
        """Return where a new tenant may begin.

        Raises RolloutStoppedError where the budget is spent, the rollout is not running, or the store has not said so
        for STALE_S. A tenant that is stopped by it has neither failed nor is it done: it stays pending.
        """
        async with self._asking:
            now = self._clock()
            if self._asked is None or now - self._asked >= ASK_S:
                self._asked = now
                await self._ask(now)
            known = self._known
        if known is None:
            raise self._stopped("there is no such rollout")
        if known.status != "running":
            raise self._stopped(f"it is {known.status}")
        failed = max(known.failed + len(self._new), len(self._failed))
        allowed = allowed_failures(self._budget, known.tenants)
        if failed > allowed:
            raise self._stopped(f"{failed} of {known.tenants} tenants have failed, {allowed} may")

    async def _ask(self, now: float) -> None:
        before = set(self._new)
        try:
            self._known = await self._store.state(self._rollout_id, self._stage)
            self._answered = now
            self._new -= before
        except SourceUnavailableError as error:
            if self._answered is None or now - self._answered >= STALE_S:
                raise self._stopped(f"nobody can tell whether it may go on: {error.message}") from error
            log.warning("%s; the rollout goes on with what is known", error)

    def _stopped(self, why: str) -> RolloutStoppedError:
        text = f"rollout {self._rollout_id}, stage {self._stage + 1}: {why}"
        return RolloutStoppedError(text, rollout=self._rollout_id, stage=self._stage)
