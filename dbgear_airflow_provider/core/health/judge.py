"""What is a problem: an instance's figures beside the limits of its tier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..engines import Counter
from ..fleet import HealthStatus
from ..settings import Limits, Thresholds

Severity = Literal["warning", "critical"]
NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that is wrong. value, limit: the figure and what it may be; None where it is no matter of a figure."""

    kind: str
    severity: Severity
    text: str
    value: float | None = None
    limit: float | None = None

    def details(self) -> dict[str, Any]:
        """Return it as JSON."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """An instance's figures; None: not known. growth_percent: in a day. pending: versions that are not applied."""

    latency_s: float | None = None
    connections_percent: float | None = None
    connections: int | None = None
    transaction_s: float | None = None
    lock_wait_s: float | None = None
    size_bytes: int | None = None
    growth_percent: float | None = None
    invalid_indexes: Sequence[str] = ()
    counters: Sequence[Counter] = ()
    pending: Sequence[str] = ()


def judge(facts: Facts, limits: Thresholds) -> list[Problem]:
    """Return what is wrong with an instance that was looked at, the worst first. A pure function."""
    return worst_first(_judged(facts, limits))


def measured(kind: str, limits: Limits, value: float | None, told: str) -> Iterator[Problem]:
    """Yield the problem of a figure that is above a limit. told: with `{value}` and `{limit}`."""
    if value is None:
        return
    given: list[tuple[Severity, float | None]] = [("critical", limits.critical), ("warning", limits.warning)]
    for severity, limit in given:
        if limit is not None and value > limit:
            text = told.format(value=f"{value:.4g}", limit=f"{limit:g}")
            yield Problem(kind=kind, severity=severity, text=text, value=value, limit=limit)
            return


def worst_first(problems: Iterator[Problem]) -> list[Problem]:
    """Return problems in the order of their severity."""
    return sorted(problems, key=lambda problem: problem.severity != "critical")


def status_of(problems: Sequence[Problem]) -> HealthStatus:
    """Return the status of an instance that was looked at."""
    severities = {problem.severity for problem in problems}
    return "critical" if "critical" in severities else "warning" if severities else "ok"


def _judged(facts: Facts, limits: Thresholds) -> Iterator[Problem]:
    yield from measured(
        "latency", limits.latency_s, facts.latency_s, "the server answers after {value} s, {limit} s are allowed"
    )
    yield from measured(
        "connections",
        limits.connections_percent,
        facts.connections_percent,
        "{value} % of the server's connections are in use, {limit} % are allowed",
    )
    yield from measured(
        "tenant_connections",
        limits.tenant_connections,
        facts.connections,
        "it has {value} connections, {limit} are allowed",
    )
    yield from measured(
        "long_transaction",
        limits.transaction_s,
        facts.transaction_s,
        "a transaction is open for {value} s, {limit} s are allowed",
    )
    yield from measured(
        "lock_wait",
        limits.lock_wait_s,
        facts.lock_wait_s,
        "a session waits for a lock for {value} s, {limit} s are allowed",
    )
    size_mb = None if facts.size_bytes is None else facts.size_bytes / 1e6
    yield from measured("size", limits.size_mb, size_mb, "it holds {value} MB, {limit} MB are allowed")
    yield from measured(
        "growth",
        limits.growth_percent,
        facts.growth_percent,
        "it has grown by {value} % in a day, {limit} % are allowed",
    )
    for counter in facts.counters[:NAMED]:
        told = f"{counter.name} has used {{value}} % of its numbers, {{limit}} % are allowed"
        yield from measured("counter", limits.counter_percent, 100 * counter.used, told)
    if facts.invalid_indexes:
        yield Problem(
            kind="invalid_index",
            severity="warning",
            text=f"invalid indexes, which no query uses: {_named(facts.invalid_indexes)}",
            value=len(facts.invalid_indexes),
            limit=0,
        )
    told = f"{{value}} migrations are not applied: {_named(facts.pending)}"
    yield from measured("behind", limits.pending, len(facts.pending), told)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
