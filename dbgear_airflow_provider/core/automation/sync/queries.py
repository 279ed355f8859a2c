"""Queries for the tenants of a list of ids."""

from __future__ import annotations

from collections.abc import Iterable

from ...tenants import Status

LIMIT_CHARS = 150_000  # below the longest query that is read, with room for conditions around it


def id_queries(tenant_ids: Iterable[str], *, status: Status | None = None, limit_chars: int = LIMIT_CHARS) -> list[str]:
    """Return queries that together select the tenants.

    status: only those that have it when the query is asked; None: all of them. Each query is of limit_chars at the
    most, or of one id; [] where there are no ids.
    """
    chunks: list[list[str]] = []
    size = limit_chars
    for tenant_id in tenant_ids:
        literal = "'" + tenant_id.replace("'", "''") + "'"
        if size + len(literal) + 2 > limit_chars:
            chunks.append([])
            size = len(_query(status, []))
        chunks[-1].append(literal)
        size += len(literal) + 2
    return [_query(status, chunk) for chunk in chunks]


def _query(status: Status | None, literals: list[str]) -> str:
    condition = f"status = '{status}' AND " if status else ""
    return f"{condition}tenant_id IN ({', '.join(literals)})"
