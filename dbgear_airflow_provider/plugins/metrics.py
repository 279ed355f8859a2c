"""Figures of the fleet as Prometheus reads them: /dbgear/metrics, for who has the token."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow.configuration import conf
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ..core.errors import DbgearError
from ..core.fleet import BUCKETS_S, FleetFigures, OperationTotals
from ..hooks.fleet import FleetStoreHook
from ..hooks.project import open_store, project_settings

_FRESH_S = 5.0  # for so long everybody gets the same answer


async def respond(scope: Any) -> Response:
    """Return the answer to a request; whoever has not the token learns of nothing else."""
    request = Request(scope)
    token = conf.get("dbgear", "metrics_token", fallback="")
    settings = (await asyncio.to_thread(project_settings)).monitoring
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if not token or not settings.enabled or path != settings.metrics_endpoint:
        return PlainTextResponse("Not Found", 404)
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        return PlainTextResponse("Unauthorized", 401, headers={"WWW-Authenticate": "Bearer"})
    if request.method not in {"GET", "HEAD"}:
        return PlainTextResponse("Method Not Allowed", 405, headers={"Allow": "GET, HEAD"})
    try:
        text = await _page.read()
    except DbgearError as error:
        return PlainTextResponse(error.message, 503)
    return Response(text, media_type=CONTENT_TYPE_LATEST)


@dataclass
class _Page:
    """The text of the figures, made at most every _FRESH_S seconds."""

    totals: OperationTotals = field(default_factory=OperationTotals)
    text: bytes = b""
    made: float | None = None
    making: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self) -> bytes:
        async with self.making:
            if self.made is None or time.monotonic() - self.made >= _FRESH_S:
                async with open_store(FleetStoreHook.default_conn_name) as store:
                    await store.figures.count(self.totals)
                    figures = await store.figures.read()
                self.text, self.made = rendered(figures, self.totals), time.monotonic()
            return self.text


_page = _Page()


def rendered(figures: FleetFigures, totals: OperationTotals) -> bytes:
    """Return figures as the text that Prometheus reads."""

    class Collector:
        def collect(self) -> Iterator[Metric]:
            yield from _gauges(figures)
            yield from _operations(totals)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry)


def _gauges(figures: FleetFigures) -> Iterator[Metric]:
    last_drift, last_health = "as of the last drift check", "as of the last health check"
    alerts = dict.fromkeys(figures.alerts, 1)
    counted: Sequence[tuple[str, str, Sequence[str], Mapping[Any, int]]] = (
        ("tenants", "Tenants of the registry", ("status", "tier", "region", "target"), figures.tenants),
        ("instances", "Instances of tenants", ("target", "state", "version"), figures.instances),
        ("drift_groups", f"Different fingerprints of instances, {last_drift}", ("target",), figures.fingerprints),
        ("health", f"Instances by their status, {last_health}", ("target", "status"), figures.health),
        ("size_bytes", f"What tenants hold, {last_health}", ("target",), figures.size_bytes),
        ("rollouts", "Rollouts", ("status",), figures.rollouts),
        ("rollout_instances", "Instances of the rollouts that run", ("rollout", "status"), figures.members),
        ("alert", "Alert rules that are broken", ("rule", "severity"), alerts),
    )
    for name, text, labels, values in counted:
        family = GaugeMetricFamily(f"dbgear_{name}", text, labels=labels)
        for key, value in values.items():
            family.add_metric([key] if isinstance(key, str) else key, value)
        yield family
    if figures.checked_at is not None:
        yield GaugeMetricFamily(
            "dbgear_health_checked_timestamp_seconds",
            "When the last health check was",
            value=figures.checked_at.timestamp(),
        )


def _operations(totals: OperationTotals) -> Iterator[Metric]:
    counts = CounterMetricFamily(
        "dbgear_operations", "Operations on tenants, without dry runs", labels=["operation", "outcome"]
    )
    durations = HistogramMetricFamily(
        "dbgear_operation_duration_seconds", "Time of operations on a tenant", labels=["operation", "outcome"]
    )
    for outcome, count in sorted(totals.counts.items()):
        counts.add_metric(outcome, count)
        below, buckets = 0, []
        for bound, own in zip(BUCKETS_S, totals.buckets[outcome], strict=True):
            below += own
            buckets.append((str(float(bound)), below))
        durations.add_metric(outcome, [*buckets, ("+Inf", count)], totals.seconds[outcome])
    yield counts
    yield durations
