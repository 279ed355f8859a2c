"""The report of a rollout: what became of every instance, as JSON and as a page of HTML."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ..errors import RolloutStoppedError
from ..fleet import RolloutMember, RolloutRecord
from .budget import TenantGroup, allowed_failures, grouped
from .estimate import Estimate, estimate
from .gate import Verdict
from .stages import Stage

# So many tenants of a group are named; the counts are of all.
SAMPLES = 10
_OUTCOMES = ("changed", "unchanged", "failed", "pending", "undone")
_FEW_S, _MINUTE_S, _HOUR_S = 10, 60, 3600


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """What became of one stage. tenants, allowed, failed: tenants; counts: instances by status.

    Times are aware, UTC; None: it has not begun. median_s, longest_s: seconds of one instance; None: nothing is done.
    """

    stage: Stage
    tenants: int
    counts: dict[str, int]
    allowed: int
    failed: int
    started_at: datetime | None
    ended_at: datetime | None
    median_s: float | None
    longest_s: float | None
    approved_by: str | None

    def details(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            **self.stage.details(),
            "tenants": self.tenants,
            "counts": self.counts,
            "allowed_failures": self.allowed,
            "failed_tenants": self.failed,
            "started_at": _iso(self.started_at),
            "ended_at": _iso(self.ended_at),
            "median_s": _rounded(self.median_s),
            "longest_s": _rounded(self.longest_s),
            "approved_by": self.approved_by,
        }


@dataclass(frozen=True, kw_only=True)
class RolloutReport:
    """A whole rollout. failures, left_out: the largest groups first. members: those left out first, then by stage."""

    record: RolloutRecord
    written_at: datetime
    stages: Sequence[StageReport]
    counts: dict[str, int]
    failures: Sequence[TenantGroup]
    left_out: Sequence[TenantGroup]
    estimate: Estimate
    verdict: Verdict | None
    members: Sequence[RolloutMember]

    @property
    def is_done(self) -> bool:
        """Whether it has reached everybody it could: it is done, and nobody failed."""
        return self.record.status == "done" and not self.counts["failed"] and not self.counts["pending"]

    def raise_unless_done(self) -> None:
        """Raise RolloutStoppedError, with the counts and the first failures, where the rollout is not done."""
        if self.is_done:
            return
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items() if count)
        causes = [f"{group.kind}: {', '.join(group.tenant_ids[:3])}: {group.example}" for group in self.failures[:3]]
        text = "; ".join([f"rollout {self.record.id} is {self.record.status}: {counts or 'no instances'}", *causes])
        raise RolloutStoppedError(text, rollout=self.record.id, stage=None)

    def document(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "rollout": self.record.id,
            "version": self.record.version,
            "query": self.record.query,
            "status": self.record.status,
            "created_at": _iso(self.record.created_at),
            "written_at": _iso(self.written_at),
            "counts": self.counts,
            "estimate": self.estimate.details(),
            "verdict": self.verdict.details() if self.verdict else None,
            "stages": [stage.details() for stage in self.stages],
            "failures": [group.details() for group in self.failures],
            "left_out": [group.details() for group in self.left_out],
            "instances": [
                {**vars(member), "started_at": _iso(member.started_at), "duration_s": _rounded(member.duration_s)}
                for member in self.members
            ],
        }

    def html(self) -> str:
        """Return the report as one page of HTML that needs no other file."""
        return _template().render(
            report=self,
            samples=SAMPLES,
            slowest=sorted(
                (member for member in self.members if member.duration_s is not None),
                key=lambda member: -(member.duration_s or 0),
            )[:SAMPLES],
        )


def build_report(
    record: RolloutRecord,
    members: Sequence[RolloutMember],
    *,
    now: datetime,
    verdict: Verdict | None = None,
) -> RolloutReport:
    """Return the report of a rollout. now: aware. verdict: of the gate at which it stands, if it does."""
    stages = [Stage.of(details) for details in record.stages]
    of_stage: dict[int | None, list[RolloutMember]] = defaultdict(list)
    for member in members:
        of_stage[member.stage].append(member)
    approvals = {approval["stage"]: approval["by"] for approval in record.approvals}
    taken = [member for member in members if member.status != "skipped"]
    return RolloutReport(
        record=record,
        written_at=now,
        stages=[_stage(stage, of_stage[index], approvals.get(index)) for index, stage in enumerate(stages)],
        counts={**_counts(taken), "skipped": len(members) - len(taken)},
        failures=grouped(members),
        left_out=grouped(members, "skipped"),
        estimate=estimate(
            stages,
            members,
            now=now,
            running_since=record.updated_at if record.status == "running" else None,
            approvals=record.approvals,
        ),
        verdict=verdict,
        members=members,
    )


def _stage(stage: Stage, members: Sequence[RolloutMember], approved_by: str | None) -> StageReport:
    durations = sorted(member.duration_s for member in members if member.duration_s is not None)
    tenants = {member.tenant_id for member in members}
    return StageReport(
        stage=stage,
        tenants=len(tenants),
        counts=_counts(members),
        allowed=allowed_failures(stage.budget, len(tenants)),
        failed=len({member.tenant_id for member in members if member.status == "failed"}),
        started_at=min((member.started_at for member in members if member.started_at), default=None),
        ended_at=max((member.ended_at for member in members if member.ended_at), default=None),
        median_s=durations[len(durations) // 2] if durations else None,
        longest_s=durations[-1] if durations else None,
        approved_by=approved_by,
    )


def _counts(members: Sequence[RolloutMember]) -> dict[str, int]:
    counts = Counter(member.status for member in members)
    return {status: counts[status] for status in _OUTCOMES}  # type: ignore[index]


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def span_text(seconds: float | None) -> str:
    """Return seconds as people read them: `0.42 s`, `42 s`, `3 min 5 s`, `2 h 7 min`; of None `-`."""
    if seconds is None:
        return "-"
    if seconds < _FEW_S:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"


def counted(number: int, noun: str) -> str:
    """Return a number of things as people read it: `1 stage`, `2 stages`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@lru_cache(maxsize=1)
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["span"] = span_text
    environment.filters["moment"] = lambda moment: f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "-"
    environment.filters["counted"] = counted
    return environment.get_template("report.html.j2")
