"""Timestamps as people and registries write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

TIMESTAMP_FORM = "an ISO 8601 date or date-time, such as 2026-01-31 or 2026-01-31T09:00:00+09:00"


def to_utc(value: str | date) -> datetime:
    """Return an ISO 8601 text, a date or a datetime as an aware datetime in UTC.

    Without an offset it is UTC; a date alone is midnight UTC. Raises ValueError.
    """
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time.min)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None
