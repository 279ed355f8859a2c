"""What arrives at Airflow's metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Tags = frozenset[tuple[str, str]]


class Metrics:
    """A backend of Airflow's metrics that keeps what it is told: {(name, tags): values}."""

    def __init__(self) -> None:
        self.told: defaultdict[tuple[str, Tags], list[Any]] = defaultdict(list)

    def incr(self, stat: str, count: int = 1, rate: float = 1, *, tags: dict[str, str]) -> None:
        self._tell(stat, count, tags)

    def gauge(self, stat: str, value: float, rate: float = 1, delta: bool = False, *, tags: dict[str, str]) -> None:
        self._tell(stat, value, tags)

    def timing(self, stat: str, dt: Any, *, tags: dict[str, str]) -> None:
        self._tell(stat, dt, tags)

    def _tell(self, stat: str, value: Any, tags: dict[str, str]) -> None:
        self.told[stat, frozenset(tags.items())].append(value)

    def of(self, stat: str, **tags: str) -> list[Any]:
        """Return all values of a metric with these tags, and perhaps others."""
        wanted = tags.items()
        return [
            value for (name, given), values in self.told.items() if name == stat and wanted <= given for value in values
        ]


@contextmanager
def collected() -> Iterator[Metrics]:
    """Let Airflow's metrics be collected while the block runs."""
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
    from airflow.sdk.observability import stats

    metrics = Metrics()
    stats.initialize(factory=lambda: metrics, export_legacy_names=True)
    try:
        yield metrics
    finally:
        stats.initialize(factory=NoStatsLogger, export_legacy_names=True)
