"""Daily windows, against an oracle that shares no code with them.

The oracle reads the transition tables of `pytz` (another database and another parser
than `zoneinfo`'s), adds the offset to the number of each minute of the year, and counts
minutes from the window's start round the clock.
"""

from __future__ import annotations

import datetime
import zoneinfo

import numpy as np
import pytest
import pytz
from hypothesis import given, settings
from hypothesis import strategies as st

from acoupi.components import schedules
from acoupi.components.conditions import IsInInterval, IsInIntervals
from acoupi.data import TimeInterval
from acoupi.errors import ConfigurationError

ZONES = [
    "Europe/London",
    "Europe/Madrid",
    "Europe/Moscow",
    "America/New_York",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/Havana",
    "America/Caracas",
    "America/Nuuk",
    "Africa/Casablanca",
    "Africa/Nairobi",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
    "Antarctica/Troll",
    "Arctic/Longyearbyen",
]
WINDOWS = [
    ((6, 0), (22, 30)),
    ((22, 30), (6, 0)),
    ((0, 0), (0, 0)),
    ((13, 37), (13, 37)),
    ((1, 15), (2, 45)),
    ((2, 45), (1, 15)),
    ((0, 0), (12, 0)),
    ((12, 0), (0, 0)),
]
YEAR = 2025
UTC = datetime.UTC
MINUTE = datetime.timedelta(minutes=1)
FIRST = datetime.datetime(YEAR, 1, 1, tzinfo=UTC)
MINUTES = 365 * 24 * 60
Window = tuple[tuple[int, int], tuple[int, int]]


def minutes_of_day(zone: str) -> np.ndarray:
    """For every minute of the year in UTC, the minute of the day on local clocks."""
    tz = pytz.timezone(zone)
    first = FIRST.replace(tzinfo=None)
    starts = [-(10**9)]
    offsets = [tz.utcoffset(first)]
    if hasattr(tz, "_utc_transition_times"):
        starts = [(time - first) // MINUTE for time in tz._utc_transition_times]
        offsets = [info[0] for info in tz._transition_info]
    minutes = np.arange(MINUTES)
    piece = np.searchsorted(starts, minutes, side="right") - 1
    shifts = np.array([offset // MINUTE for offset in offsets])
    return (minutes + shifts[piece]) % 1440


def inside(local: np.ndarray, window: Window) -> np.ndarray:
    """Count minutes from the start, round the clock."""
    start, end = (60 * hour + minute for hour, minute in window)
    length = (end - start) % 1440 or 1440
    return (local - start) % 1440 < length


def interval_of(window: Window) -> TimeInterval:
    start, end = (datetime.time(*time) for time in window)
    return TimeInterval(start=start, end=end)


@pytest.mark.parametrize("zone", ZONES)
def test_every_minute_of_a_year_is_inside_or_outside_as_the_wall_clock_says(zone):
    local = minutes_of_day(zone)
    window = WINDOWS[ZONES.index(zone) % len(WINDOWS)]
    condition = IsInInterval(interval_of(window), zone)
    found = [condition.should_record(FIRST + n * MINUTE) for n in range(MINUTES)]
    assert (np.array(found) == inside(local, window)).all()


@pytest.mark.parametrize("zone", ZONES)
def test_the_preview_of_a_year_is_right_to_the_minute(zone):
    local = minutes_of_day(zone)
    for window in WINDOWS:
        found = np.zeros(MINUTES, bool)
        for opened, closed in schedules.preview(
            [IsInInterval(interval_of(window), zone)], FIRST, FIRST + MINUTES * MINUTE
        ):
            assert opened.second == opened.microsecond == 0
            found[(opened - FIRST) // MINUTE : (closed - FIRST) // MINUTE] = True
        assert (found == inside(local, window)).all()


def test_a_day_window_excludes_the_other_minutes():
    window = IsInInterval(
        TimeInterval(start=datetime.time(6), end=datetime.time(22, 30)), "UTC"
    )
    midnight = datetime.datetime(2026, 6, 1, tzinfo=UTC)
    inside = [n for n in range(1440) if window.should_record(midnight + n * MINUTE)]
    assert inside == list(range(6 * 60, 22 * 60 + 30))


def test_windows_contain_their_start_and_not_their_end():
    window = IsInInterval(
        TimeInterval(start=datetime.time(6), end=datetime.time(22, 30)), "UTC"
    )

    def at(*time):
        return window.should_record(datetime.datetime(2026, 6, 1, *time, tzinfo=UTC))

    assert not at(5, 59, 59, 999_999)
    assert at(6, 0)
    assert at(22, 29, 59, 999_999)
    assert not at(22, 30)


def test_an_hour_repeated_by_daylight_saving_is_twice_in_its_window():
    window = IsInInterval(
        TimeInterval(start=datetime.time(1, 15), end=datetime.time(1, 45)),
        "Europe/London",
    )
    start = datetime.datetime(2025, 10, 26, tzinfo=UTC)
    hours = [(w[0].hour, w[0].minute) for w in _day(window, start)]
    assert hours == [(0, 15), (1, 15)]


def test_an_hour_skipped_by_daylight_saving_is_in_no_window():
    window = IsInInterval(
        TimeInterval(start=datetime.time(1, 15), end=datetime.time(1, 45)),
        "Europe/London",
    )
    assert _day(window, datetime.datetime(2025, 3, 30, tzinfo=UTC)) == []


def _day(condition, start):
    return schedules.preview([condition], start, start + datetime.timedelta(days=1))


@pytest.mark.parametrize(
    "timezone",
    [
        "America/New_York",
        zoneinfo.ZoneInfo("America/New_York"),
        pytz.timezone("America/New_York"),
    ],
    ids=["name", "zoneinfo", "pytz"],
)
def test_names_zoneinfo_and_pytz_mean_the_same(timezone):
    window = IsInInterval(
        TimeInterval(start=datetime.time(6), end=datetime.time(7)), timezone
    )
    for month, hour in ((1, 11), (7, 10)):
        assert window.should_record(datetime.datetime(2026, month, 5, hour, tzinfo=UTC))
        assert not window.should_record(
            datetime.datetime(2026, month, 5, 21 - hour, tzinfo=UTC)
        )


def test_pytz_zones_give_the_same_preview_as_zoneinfo():
    start = datetime.datetime(2025, 1, 1, tzinfo=UTC)
    interval = TimeInterval(start=datetime.time(1, 30), end=datetime.time(4))
    for zone in ZONES:
        previews = [
            schedules.preview(
                [IsInInterval(interval, tz)],
                start,
                start + datetime.timedelta(days=365),
            )
            for tz in (zoneinfo.ZoneInfo(zone), pytz.timezone(zone))
        ]
        assert previews[0] == previews[1]


def test_naive_is_utc_and_any_aware_time_is_the_same_instant():
    window = IsInInterval(
        TimeInterval(start=datetime.time(6), end=datetime.time(7)), "Asia/Tokyo"
    )
    assert window.should_record(datetime.datetime(2026, 1, 1, 21, 30))  # noqa: DTZ001 - naive is what is tested
    assert window.should_record(datetime.datetime(2026, 1, 1, 21, 30, tzinfo=UTC))
    assert window.should_record(
        datetime.datetime(2026, 1, 1, 16, 30, tzinfo=zoneinfo.ZoneInfo("US/Eastern"))
    )


def test_without_a_time_the_current_one_is_meant(monkeypatch):
    window = IsInInterval(
        TimeInterval(start=datetime.time(6), end=datetime.time(7)), "UTC"
    )
    for hour, expected in ((6, True), (7, False)):
        now = datetime.datetime(2026, 1, 1, hour, tzinfo=UTC)
        monkeypatch.setattr("acoupi.data.utc_now", lambda now=now: now)
        assert window.should_record() is expected


def test_several_windows_record_in_any_of_them():
    window = IsInIntervals(
        intervals=[
            TimeInterval(start=datetime.time(22), end=datetime.time(2)),
            TimeInterval(start=datetime.time(1), end=datetime.time(5)),
            TimeInterval(start=datetime.time(12), end=datetime.time(13)),
        ],
        timezone="UTC",
    )
    start = datetime.datetime(2026, 6, 1, 6, tzinfo=UTC)
    assert [(a.hour, b.hour) for a, b in _day(window, start)] == [(12, 13), (22, 5)]


def test_no_windows_at_all_are_refused():
    with pytest.raises(ConfigurationError, match="intervals is empty"):
        IsInIntervals(intervals=[], timezone="UTC")


def test_an_unknown_time_zone_names_the_nearest():
    with pytest.raises(ConfigurationError, match=r"'Europe/Londn'.*'Europe/London'"):
        schedules.as_timezone("Europe/Londn")


@pytest.mark.parametrize("name", ["", "../etc/passwd", "/etc/localtime", "x" * 500])
def test_hostile_time_zone_names_are_configuration_errors(name):
    with pytest.raises(ConfigurationError, match="timezone is"):
        schedules.as_timezone(name)


def test_times_with_an_offset_are_refused():
    interval = TimeInterval(start="06:00Z", end="07:00")
    with pytest.raises(ConfigurationError, match=r"interval.start is 06:00:00\+00:00"):
        IsInInterval(interval, "UTC")


@settings(deadline=None)
@given(
    start=st.times(),
    end=st.times(),
    zone=st.sampled_from(ZONES),
    instant=st.datetimes(
        datetime.datetime(2020, 1, 1),  # noqa: DTZ001 - bounds are naive by contract
        datetime.datetime(2030, 1, 1),  # noqa: DTZ001 - bounds are naive by contract
        timezones=st.just(UTC),
    ),
)
def test_two_complementary_windows_share_the_day(start, end, zone, instant):
    tz = zoneinfo.ZoneInfo(zone)
    one = schedules.in_daily_interval(instant, TimeInterval(start=start, end=end), tz)
    two = schedules.in_daily_interval(instant, TimeInterval(start=end, end=start), tz)
    assert (one and two) if start == end else (one != two)
