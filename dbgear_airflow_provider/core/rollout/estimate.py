"""How long a rollout will take: from how fast its last instances were done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from ..fleet import RolloutMember
from .stages import Stage

# So many of the last ones: enough to know, few enough to notice that the server has slowed down.
RECENT = 200
# Below it there is no telling how long it takes at the most.
_FEW = 5


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The time left. done, left: instances. rate: instances a second while any was worked on; None: none is done.

    in_flight: how many were worked on at once, on average. left_s: seconds of work and soaking; low_s and high_s: its
    bounds, of about 95 % while the work stays as it is; None: unknown. approvals: how many persons have to be waited
    for; that time is in no number here.
    """

    done: int
    left: int
    rate: float | None
    in_flight: float | None
    left_s: float | None
    low_s: float | None
    high_s: float | None
    approvals: int

    def details(self) -> dict[str, Any]:
        """Return it as JSON, rounded."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


def estimate(
    stages: Sequence[Stage],
    members: Sequence[RolloutMember],
    *,
    now: datetime,
    running_since: datetime | None = None,
    approvals: Sequence[Mapping[str, Any]] = (),
) -> Estimate:
    """Return how long the rest of a rollout takes.

    now: aware. running_since: since when it has been running; None: it is not. approvals: as the store keeps them.
    Time in which nothing was worked on, such as soaking and pauses, is not counted: the rate is by busy time.
    """
    ended = [(member.started_at, member.ended_at) for member in members if member.started_at and member.ended_at]
    ended.sort(key=lambda span: span[1])
    left = [member for member in members if member.status == "pending"]
    gates = _gates(left)
    soak_s = sum(_soak_s(stages[index], index, members, now) for index in gates)
    given = {approval["stage"] for approval in approvals}
    told = {
        "done": len(ended),
        "left": len(left),
        "approvals": sum(stages[index].approval and index not in given for index in gates),
    }
    if not left:
        return Estimate(**told, rate=None, in_flight=None, left_s=0, low_s=0, high_s=0)
    if not ended:
        return Estimate(**told, rate=None, in_flight=None, left_s=None, low_s=None, high_s=None)

    recent = ended[-RECENT:]
    since = ended[-RECENT - 1][1] if len(ended) > RECENT else min(start for start, _ in recent)
    spans = [(max(start, since), end) for start, end in recent]
    worked_s = sum((end - start).total_seconds() for start, end in spans)
    busy_s = max(_union(spans).total_seconds() + _silent_s(recent, left, members, now, running_since), 1e-3)
    rate = len(recent) / busy_s
    spread = 2 / math.sqrt(len(recent))
    work_s = len(left) / rate
    return Estimate(
        **told,
        rate=rate,
        in_flight=worked_s / busy_s,
        left_s=work_s + soak_s,
        low_s=work_s / (1 + spread) + soak_s,
        high_s=work_s / (1 - spread) + soak_s if len(recent) >= _FEW else None,
    )


def _gates(left: Sequence[RolloutMember]) -> range:
    """Return the stages whose gates are before one of those that are left: the one before the first of them, too."""
    open_stages = [member.stage for member in left if member.stage is not None]
    return range(max(min(open_stages) - 1, 0), max(open_stages)) if open_stages else range(0)


def _soak_s(stage: Stage, index: int, members: Sequence[RolloutMember], now: datetime) -> float:
    """Return how much of a stage's soak time is to come, in seconds."""
    of_stage = [member for member in members if member.stage == index]
    last = max((member.ended_at for member in of_stage if member.ended_at), default=None)
    if last is None or any(member.status == "pending" for member in of_stage):
        return stage.soak_s if of_stage else 0
    return max(0, stage.soak_s - (now - last).total_seconds())


def _silent_s(
    recent: Sequence[tuple[datetime, datetime]],
    left: Sequence[RolloutMember],
    members: Sequence[RolloutMember],
    now: datetime,
    running_since: datetime | None,
) -> float:
    """Return how long nothing has ended although a stage is being worked on: a server may stand still."""
    first = min((member.stage for member in left if member.stage is not None), default=None)
    if running_since is None or not any(member.stage == first and member.ended_at for member in members):
        return 0
    silent_s = (now - max(recent[-1][1], running_since)).total_seconds()
    longest_s = max((end - start).total_seconds() for start, end in recent)
    return silent_s if silent_s > 2 * longest_s else 0


def _union(spans: Sequence[tuple[datetime, datetime]]) -> timedelta:
    """Return how long at least one of the spans lasted."""
    total, covered = timedelta(), None
    for start, end in sorted(spans):
        begin = start if covered is None else max(start, covered)
        if end > begin:
            total += end - begin
        covered = end if covered is None else max(covered, end)
    return total
