"""What the core counts, as metrics of Airflow."""

from __future__ import annotations

import hashlib
import re

from airflow.sdk.observability import stats

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
