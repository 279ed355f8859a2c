"""The report of a look at the fleet: as JSON, as a page, and as text for a log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from ..fleet import HealthRecord, HealthStatus
from .judge import NAMED, Facts, Problem

STATUSES: Sequence[HealthStatus] = ("unreachable", "critical", "warning", "ok")
# {the least status that is a failure: those that are}
FAIL_ON: Mapping[str, Sequence[HealthStatus]] = {
    "never": (),
    "unreachable": STATUSES[:1],
    "critical": STATUSES[:2],
    "warning": STATUSES[:3],
}


@dataclass(frozen=True, kw_only=True)
class InstanceHealth:
    """How an instance was found. version: its newest migration; None: none, or nobody knows."""

    tenant_id: str
    instance: str
    tier: str
    target: str
    status: HealthStatus
    problems: Sequence[Problem] = ()
    facts: Facts = field(default_factory=Facts)
    version: str | None = None

    def record(self, checked_at: datetime) -> HealthRecord:
        """Return what the fleet store keeps of it."""
        return HealthRecord(
            tenant_id=self.tenant_id,
            instance=self.instance,
            target=self.target,
            status=self.status,
            checked_at=checked_at,
            latency_s=self.facts.latency_s,
            size_bytes=self.facts.size_bytes,
            connections=self.facts.connections,
            problems=[problem.details() for problem in self.problems],
        )

    def details(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "tenant_id": self.tenant_id,
            "instance": self.instance,
            "tier": self.tier,
            "target": self.target,
            "status": self.status,
            "version": self.version,
            "latency_s": self.facts.latency_s,
            "size_bytes": self.facts.size_bytes,
            "growth_percent": self.facts.growth_percent,
            "connections": self.facts.connections,
            "problems": [problem.details() for problem in self.problems],
        }


@dataclass(frozen=True, kw_only=True)
class ServerHealth:
    """How a server was found. latency_s, used, limit: None where it did not answer; error: why not."""

    target: str
    instances: int
    duration_s: float
    latency_s: float | None = None
    used: int | None = None
    limit: int | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class HealthReport:
    """A look at many instances, ordered by tenant and name. checked_at is aware, UTC. notes: what was not looked at."""

    checked_at: datetime
    instances: Sequence[InstanceHealth]
    servers: Sequence[ServerHealth] = ()
    notes: Sequence[str] = field(default=())

    @property
    def counts(self) -> dict[str, int]:
        """Return instances by status, the worst first."""
        counts = Counter(instance.status for instance in self.instances)
        return {status: counts[status] for status in STATUSES}

    def sick(self, *statuses: HealthStatus) -> list[InstanceHealth]:
        """Return the instances of these statuses, the worst first; without any: all that are not ok."""
        wanted = statuses or STATUSES[:-1]
        ordered = sorted(self.instances, key=lambda instance: STATUSES.index(instance.status))
        return [instance for instance in ordered if instance.status in wanted]

    def failing(self, fail_on: str) -> list[InstanceHealth]:
        """Return the instances that are a failure, the worst first. fail_on: one of FAIL_ON."""
        return self.sick(*FAIL_ON[fail_on]) if FAIL_ON[fail_on] else []

    @property
    def kinds(self) -> dict[str, int]:
        """Return instances by kind of problem, the most frequent first."""
        return dict(Counter(kind for item in self.instances for kind in {p.kind for p in item.problems}).most_common())

    @property
    def by_tier(self) -> Mapping[str, dict[str, int]]:
        """Return {tier: instances by status}."""
        tiers: dict[str, Counter[str]] = {}
        for instance in self.instances:
            tiers.setdefault(instance.tier, Counter())[instance.status] += 1
        return {tier: {status: tiers[tier][status] for status in STATUSES} for tier in sorted(tiers)}

    @property
    def largest(self) -> list[InstanceHealth]:
        """Return the instances that hold most, the largest first."""
        known = [instance for instance in self.instances if instance.facts.size_bytes]
        return sorted(known, key=lambda instance: -(instance.facts.size_bytes or 0))[:10]

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "checked_at": self.checked_at.isoformat(timespec="seconds"),
            "counts": self.counts,
            "kinds": self.kinds,
            "servers": [vars(server) for server in self.servers],
            "notes": list(self.notes),
            "instances": [instance.details() for instance in self.instances],
        }

    def text(self) -> str:
        """Return it for a log: counts, servers, and the first instances that are not ok."""
        lines = [", ".join(f"{count} {status}" for status, count in self.counts.items())]
        for server in self.servers:
            told = (
                server.error
                or f"answers after {1000 * (server.latency_s or 0):.1f} ms, {server.used} of {server.limit} connections"
            )
            lines.append(f"target {server.target}: {told}; {server.instances} instances in {server.duration_s:.2f} s")
        sick = self.sick()
        for instance in sick[: 4 * NAMED]:
            problem = f": {instance.problems[0].text}" if instance.problems else ""
            lines.append(f"{instance.status}: {instance.tenant_id}/{instance.instance}{problem}")
        lines += [f"and {len(sick) - 4 * NAMED} more"] if len(sick) > 4 * NAMED else []
        return "\n".join([*lines, *self.notes])

    def html(self) -> str:
        """Return it as one page that needs nothing else."""
        return _template().render(report=self, statuses=STATUSES)


def merged(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the documents of several reports, of one target each, as one."""
    counts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for document in documents:
        counts.update(document["counts"])
        kinds.update(document["kinds"])
    return {
        "checked_at": max((document["checked_at"] for document in documents), default=None),
        "counts": {status: counts[status] for status in STATUSES},
        "kinds": dict(kinds.most_common()),
        **{
            name: [item for document in documents for item in document[name]]
            for name in ("servers", "notes", "instances")
        },
    }


@lru_cache(maxsize=1)
def _template() -> Template:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["megabytes"] = lambda size: "-" if size is None else f"{size / 1e6:,.1f} MB"
    environment.filters["milliseconds"] = lambda seconds: "-" if seconds is None else f"{1000 * seconds:.1f} ms"
    environment.filters["moment"] = lambda moment: f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return environment.get_template("report.html.j2")
