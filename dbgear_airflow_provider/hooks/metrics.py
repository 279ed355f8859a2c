"""What the core counts, as metrics of Airflow."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta

from airflow.sdk.observability import stats

from ..core.automation import OperationResult
from ..core.engines import Server

_MAX_TAG_CHARS = 64
_NOT_IN_A_TAG = re.compile(r"[^A-Za-z0-9_./-]+")


def count_cache_event(event: str, source: str) -> None:
    """Count `dbgear.registry.cache.<event>`, with the source as a tag. event: "hit", "miss" or "error"."""
    stats.incr(f"dbgear.registry.cache.{event}", tags={"source": source_tag(source)})


def source_tag(source: str) -> str:
    """Return the name of a source as every metrics backend takes it: 64 characters of A-Z a-z 0-9 _ . / - at the most.

    What follows a "?" is left out: it may hold what is no business of a dashboard.
    """
    tag = _NOT_IN_A_TAG.sub("_", source.partition("?")[0])
    if len(tag) <= _MAX_TAG_CHARS:
        return tag
    return f"{tag[: _MAX_TAG_CHARS - 9]}-{hashlib.sha256(source.encode()).hexdigest()[:8]}"


def count_result(result: OperationResult) -> None:
    """Count one tenant's operation, its time, and connections that it kept.

    `dbgear.operation.finished` and the timing `dbgear.operation.duration` have the tags operation, outcome, dry_run and
    target, those of errors error_kind in its place; `dbgear.connections.leaked` has target.
    """
    details = result.details or {}
    tags = {
        "operation": result.operation,
        "outcome": result.status.value,
        "dry_run": str(details.get("dry_run", False)),
    }
    tags |= {name: str(details[name]) for name in ("target", "error_kind") if details.get(name)}
    stats.incr("dbgear.operation.finished", tags=tags)
    stats.timing("dbgear.operation.duration", timedelta(seconds=result.duration), tags=tags)
    for target, count in details.get("leaked_connections", {}).items():
        stats.incr("dbgear.connections.leaked", count, tags={"target": target})


def gauge_connections(server: Server) -> None:
    """Tell how many connections to a target this task had at once, at the most: `dbgear.connections.used_at_most`."""
    stats.gauge("dbgear.connections.used_at_most", server.connections.used_at_most, tags={"target": server.name})
