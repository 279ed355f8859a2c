"""Maintenance windows, against a clock that is looked at minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgear_airflow_provider.core.errors import SettingsError
from dbgear_airflow_provider.core.rollout import changes_at, is_open, windows_of
from dbgear_airflow_provider.core.settings import DAYS, WindowSettings

MINUTE = timedelta(minutes=1)


def window(start: str, end: str, *days: str, timezone: str = "UTC") -> WindowSettings:
    return WindowSettings.model_validate({"days": days or DAYS, "from": start, "to": end, "timezone": timezone})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def slowly(windows: list[WindowSettings], moment: datetime) -> bool:
    """Tell whether one is open, by asking each minute that a window has on its own wall, from its beginning on."""
    for each in windows:
        zone = ZoneInfo(each.timezone)
        wall = moment.astimezone(zone).replace(tzinfo=None, fold=0, second=0, microsecond=0)
        for back in range(2):
            begins = datetime.combine(wall.date() - timedelta(days=back), datetime.min.time())
            hours, minutes = map(int, each.from_.split(":"))
            begins += timedelta(hours=hours, minutes=minutes)
            hours, minutes = map(int, each.to.split(":"))
            ends = datetime.combine(begins.date(), datetime.min.time()) + timedelta(hours=hours, minutes=minutes)
            if ends <= begins:
                ends += timedelta(days=1)
            if DAYS[begins.weekday()] in each.days and begins <= wall < ends:
                return True
    return False


CLOCKS = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
# In each of these zones the clock changes within a day or two of the moment; the last one never changes it.
CHANGES = {
    "America/New_York": ["2026-03-08T06:30:00", "2026-11-01T05:10:00"],
    "Europe/Berlin": ["2026-03-29T00:20:00", "2026-10-25T00:40:00"],
    "Australia/Lord_Howe": ["2026-04-04T14:00:00", "2026-10-03T15:00:00"],  # by half an hour
    "America/Santiago": ["2026-04-05T02:00:00", "2026-09-06T03:00:00"],  # at midnight
    "Pacific/Auckland": ["2026-04-04T13:00:00", "2026-09-26T13:00:00"],
    "Asia/Tokyo": ["2026-03-08T06:30:00"],
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[WindowSettings], datetime]:
    zone = draw(st.sampled_from(sorted(CHANGES)))
    moment = utc(draw(st.sampled_from(CHANGES[zone])))
    days = st.lists(st.sampled_from(DAYS), min_size=1, unique=True)
    windows = draw(
        st.lists(
            st.builds(lambda start, end, some: window(start, end, *some, timezone=zone), CLOCKS, CLOCKS, days),
            min_size=1,
            max_size=2,
        )
    )
    return windows, moment + timedelta(minutes=draw(st.integers(-2000, 2000)))


@given(cases())
@settings(max_examples=60, deadline=None)
def test_a_window_is_open_as_a_clock_says_that_is_looked_at_each_minute(
    case: tuple[list[WindowSettings], datetime],
) -> None:
    windows, moment = case
    states = [slowly(windows, moment + MINUTE * number) for number in range(36 * 60)]
    assert [is_open(windows, moment + MINUTE * number) for number in range(0, len(states), 7)] == states[::7]
    changes = changes_at(windows, moment)
    other = next((number for number, state in enumerate(states) if state != states[0]), None)
    if other is not None:
        assert changes == moment + MINUTE * other
    else:
        assert changes is None or changes > moment + MINUTE * (len(states) - 1)


@pytest.mark.parametrize(
    ("text", "opens", "closes"),
    [
        ("02:15-02:45", None, None),  # that night the clock has no such time
        ("02:30-04:00", "2026-03-08T07:00:00", "2026-03-08T08:00:00"),
        ("01:00-02:30", "2026-03-08T06:00:00", "2026-03-08T07:00:00"),
    ],
)
def test_where_the_clock_is_put_forward(text: str, opens: str | None, closes: str | None) -> None:
    some = [window(*text.split("-"), "sun", timezone="America/New_York")]
    evening = utc("2026-03-08T01:00:00")
    if opens is None or closes is None:
        assert changes_at(some, evening) == utc("2026-03-15T06:15:00")  # a week later
    else:
        assert changes_at(some, evening) == utc(opens)
        assert changes_at(some, utc(opens)) == utc(closes)


def test_where_the_clock_is_put_back_a_window_is_open_twice() -> None:
    some = [window("01:00", "01:30", timezone="America/New_York")]
    at, changes = utc("2026-11-01T04:00:00"), []
    for _ in range(4):
        at = changes_at(some, at) or at
        changes.append(f"{at:%H:%M}")
    assert changes == ["05:00", "05:30", "06:00", "06:30"]


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    some = [window("22:00", "02:00", "sat", timezone="Asia/Tokyo")]
    assert is_open(some, datetime(2026, 7, 5, 1, 59, tzinfo=ZoneInfo("Asia/Tokyo")))  # a Sunday
    assert not is_open(some, datetime(2026, 7, 5, 2, tzinfo=ZoneInfo("Asia/Tokyo")))
    assert not is_open(some, datetime(2026, 7, 4, 1, 59, tzinfo=ZoneInfo("Asia/Tokyo")))


def test_equal_times_are_a_whole_day() -> None:
    some = [window("06:00", "06:00", "mon")]
    opens = changes_at(some, utc("2026-07-01T12:00:00"))
    assert opens == utc("2026-07-06T06:00:00")
    assert changes_at(some, opens) == utc("2026-07-07T06:00:00")


def test_without_windows_it_is_always() -> None:
    assert is_open([], utc("2026-07-01T12:00:00"))
    assert changes_at([], utc("2026-07-01T12:00:00")) is None
    always = [window("06:00", "06:00")]
    assert is_open(always, utc("2026-07-01T12:00:00"))
    assert changes_at(always, utc("2026-07-01T12:00:00")) is None


def test_a_tenants_own_windows_go_before_the_default() -> None:
    default = [window("01:00", "02:00")]
    own = {"from": "03:00", "to": "04:00", "timezone": "Asia/Tokyo"}
    assert windows_of("T1", {}, default) == tuple(default)
    assert [item.from_ for item in windows_of("T1", {"maintenance": own}, default)] == ["03:00"]
    assert [item.from_ for item in windows_of("T1", {"maintenance": [own, own]}, default)] == ["03:00", "03:00"]
    assert windows_of("T1", {"maintenance": []}, default) == ()


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([{"from": "03:00", "to": "25:00"}], "maintenance.0.to"),
        ({"from": "03:00", "to": "04:00", "zone": "UTC"}, "maintenance.0.zone"),
        ("sunday", "maintenance"),
        (None, "maintenance"),
    ],
)
def test_what_is_wrong_in_a_tenants_windows_is_told(value: object, where: str) -> None:
    with pytest.raises(SettingsError) as caught:
        windows_of("T1", {"maintenance": value}, [])
    assert caught.value.details["where"] == f"settings of tenant T1.{where}"
