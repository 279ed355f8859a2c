"""Maintenance windows: whether a tenant may be touched now, and when that changes.

A window is open while the clock on the wall of its time zone shows a time in it. So where the clock is put forward,
what it leaves out is no part of a window; where it is put back, a window in the hour that comes twice is open twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from ..errors import SettingsError
from ..settings import DAYS, MaintenanceSettings, WindowSettings, check_section

MAINTENANCE = "maintenance"  # the key of tenants' own settings

# A window of one day a week that a change of the clock swallows comes again in the second week.
_HORIZON_DAYS = 15

Windows = Sequence[WindowSettings]


def windows_of(tenant_id: str, config: Mapping[str, Any], default: Windows) -> tuple[WindowSettings, ...]:
    """Return a tenant's windows, the default where its own settings say nothing; () means always.

    Raises SettingsError where they are wrong.
    """
    if MAINTENANCE not in config:
        return tuple(default)
    where = f"settings of tenant {tenant_id}"
    found = check_section(MaintenanceSettings, {MAINTENANCE: config[MAINTENANCE]}, where).maintenance
    if found is None:
        raise SettingsError("no windows", where=f"{where}.{MAINTENANCE}", allowed="a list; [] means always")
    return tuple(found)


def is_open(windows: Windows, moment: datetime) -> bool:
    """Tell whether a tenant with these windows may be touched; without windows always. moment: aware."""
    return not windows or any(_shows(window, moment) for window in windows)


def changes_at(windows: Windows, moment: datetime) -> datetime | None:
    """Return when what `is_open` says of `moment` is over, in UTC; None: not in the next two weeks."""
    return _changes_at(tuple(windows), moment.astimezone(UTC)) if windows else None


@lru_cache(maxsize=4096)  # most tenants of a fleet share their windows
def _changes_at(windows: tuple[WindowSettings, ...], moment: datetime) -> datetime | None:
    now = is_open(windows, moment)
    candidates = sorted({at for window in windows for at in _edges(window, moment) if at > moment})
    return next((at for at in candidates if is_open(windows, at) != now), None)


def _shows(window: WindowSettings, moment: datetime) -> bool:
    local = moment.astimezone(window.zone)
    clock, today = local.time(), DAYS[local.weekday()]
    if window.begins < window.ends:
        return today in window.days and window.begins <= clock < window.ends
    yesterday = DAYS[local.weekday() - 1]
    return (today in window.days and clock >= window.begins) or (yesterday in window.days and clock < window.ends)


def _edges(window: WindowSettings, moment: datetime) -> Iterator[datetime]:
    """Yield the moments at which the window may open or close: its two times on each day, and changes of the clock."""
    first = moment.astimezone(window.zone).date()
    for number in range(-1, _HORIZON_DAYS):
        day = first + timedelta(days=number)
        for clock in (window.begins, window.ends):
            for fold in (0, 1):
                yield datetime.combine(day, clock, window.zone).replace(fold=fold).astimezone(UTC)
        yield from _clock_changes(window.zone, day)


def _clock_changes(zone: ZoneInfo, day: date) -> Iterator[datetime]:
    """Yield the moment, to the minute, at which the clock is put forward or back on a day."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    low, high = noon - timedelta(days=1), noon
    before = low.astimezone(zone).utcoffset()
    if high.astimezone(zone).utcoffset() == before:
        return
    while high - low > timedelta(minutes=1):
        middle = low + timedelta(minutes=(high - low) // timedelta(minutes=2))
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    yield high
