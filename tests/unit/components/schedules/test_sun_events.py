"""Sun events all over the Earth, against an oracle that shares no code with them.

The oracle is the low-precision solar position of the *Astronomical Almanac* (0.01
degrees from 1950 to 2050), evaluated for every minute of a year: no date arithmetic, no
root finding, no notion of a day.
"""

from __future__ import annotations

import datetime
import functools
import logging
import zoneinfo

import numpy as np
import pytest
import pytz
from hypothesis import given, settings
from hypothesis import strategies as st

from acoupi import data
from acoupi.components import schedules
from acoupi.components.conditions import (
    DawnTimeInterval,
    DuskTimeInterval,
    IsInSunInterval,
    IsNearSunEvent,
    SunriseTimeInterval,
    SunsetTimeInterval,
)
from acoupi.components.schedules import Place, SunMoment, sun
from acoupi.errors import ConfigurationError

UTC = datetime.UTC
MINUTE = datetime.timedelta(minutes=1)
DAY = datetime.timedelta(days=1)
FIRST = datetime.datetime(2025, 1, 1, tzinfo=UTC)
MINUTES = 365 * 24 * 60
J2000 = datetime.datetime(2000, 1, 1, 12, tzinfo=UTC)
# The sun's altitude is known to better than this by both sides, in degrees.
TOLERANCE = 0.03

PLACES = {
    "London": (51.5, -0.13),
    "Quito": (-0.2, -78.5),
    "Christchurch": (-43.5, 172.6),
    "Tromsø": (69.65, 18.96),
    "Reykjavik": (64.15, -21.94),
    "Longyearbyen": (78.22, 15.65),
    "Alert": (82.5, -62.3),
    "McMurdo": (-77.85, 166.67),
    "Rothera": (-67.57, -68.13),
    "Attu": (52.9, 173.0),
    "Kiritimati": (1.87, -157.4),
    "Fiji, on the antimeridian": (-16.8, 180.0),
    "the antimeridian from the east": (60.0, -180.0),
    "Greenwich on the equator": (0.0, 0.0),
    "the polar circle": (66.56, 90.0),
}


@pytest.fixture(scope="module", autouse=True)
def _remember_every_event():
    """Compute no event of the year twice: the tests ask for the same ones in turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sun, "_passage", functools.cache(sun._passage.__wrapped__))
        yield


@functools.lru_cache(maxsize=4)
def altitudes(place: tuple[float, float]) -> np.ndarray:
    return solar_position(np.arange(MINUTES), place)[0]


def solar_position(minutes: np.ndarray, place: tuple[float, float]):
    """Return altitude and hour angle (degrees) for minutes since `FIRST`."""
    latitude, longitude = place
    n = (FIRST - J2000) / DAY + minutes / 1440
    mean_longitude = 280.460 + 0.9856474 * n
    g = np.radians(357.528 + 0.9856003 * n)
    ecliptic = np.radians(mean_longitude + 1.915 * np.sin(g) + 0.020 * np.sin(2 * g))
    obliquity = np.radians(23.439 - 0.0000004 * n)
    right_ascension = np.degrees(
        np.arctan2(np.cos(obliquity) * np.sin(ecliptic), np.cos(ecliptic))
    )
    declination = np.arcsin(np.sin(obliquity) * np.sin(ecliptic))
    sidereal = 15 * (18.697374558 + 24.06570982441908 * n)
    angle = (sidereal + longitude - right_ascension + 180) % 360 - 180
    phi = np.radians(latitude)
    altitude = np.degrees(
        np.arcsin(
            np.sin(phi) * np.sin(declination)
            + np.cos(phi) * np.cos(declination) * np.cos(np.radians(angle))
        )
    )
    return altitude, angle


def as_mask(windows) -> np.ndarray:
    found = np.zeros(MINUTES, bool)
    for opened, closed in windows:
        i, j = ((edge - FIRST) / MINUTE for edge in (opened, closed))
        found[int(np.ceil(i)) : int(np.ceil(j))] = True
    return found


def at(place: tuple[float, float]) -> data.Deployment:
    return data.Deployment(name="x", latitude=place[0], longitude=place[1])


@pytest.mark.parametrize(
    ("rise", "set_", "horizon"), [("sunrise", "sunset", -0.833), ("dawn", "dusk", -6)]
)
@pytest.mark.parametrize("name", PLACES)
def test_day_and_night_are_right_for_every_minute_of_a_year(name, rise, set_, horizon):
    altitude = altitudes(PLACES[name])
    certain = abs(altitude - horizon) > TOLERANCE
    for start, end, day in ((rise, set_, True), (set_, rise, False)):
        condition = IsInSunInterval(start, end, "UTC")
        condition.use_deployment(at(PLACES[name]))
        windows = schedules.preview([condition], FIRST, FIRST + MINUTES * MINUTE)
        found = as_mask(windows)
        assert (found == ((altitude >= horizon) == day))[certain].all()
        # `should_record` and `preview` are two ways through the same functions.
        for n in range(0, MINUTES, 1997):
            assert condition.should_record(FIRST + n * MINUTE) == found[n]


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("event", ["dawn", "sunrise", "sunset", "dusk"])
def test_every_solar_day_has_each_event_once_or_the_nearest_moment(name, event):
    horizon = -6 if event in {"dawn", "dusk"} else -0.833
    rising = event in {"dawn", "sunrise"}
    place = Place(*PLACES[name])
    previous = None
    for n in range(365):
        found = schedules.sun_event(event, FIRST.date() + n * DAY, place)
        if previous is not None:
            # Days on which it begins or ends to occur jump from noon or midnight.
            assert found.time > previous.time
        previous = found
        if n % 5:
            continue
        middle = (found.time - FIRST) / MINUTE
        minutes = middle + np.arange(-720, 721, 5)
        altitude, angle = solar_position(minutes, PLACES[name])
        here_altitude, here_angle = altitude[144], angle[144]
        if found.occurs:
            assert abs(here_altitude - horizon) < TOLERANCE
            assert (here_angle <= 0.1) if rising else (here_angle >= -0.1)
        else:
            # Half the solar day lies entirely on one side of the horizon.
            half = (angle < 0) if rising else (angle > 0)
            above = here_altitude > horizon
            side = altitude[half] - horizon
            assert ((side if above else -side) > -TOLERANCE).all()
            # It stands at solar midnight while the sun stays up, else at solar noon.
            assert abs(abs(here_angle) - (180 if above else 0)) < 0.5


@pytest.mark.parametrize(
    ("place", "day", "event", "local", "zone"),
    [
        # Published by almanacs, to the minute.
        (PLACES["London"], (2024, 6, 21), "sunrise", (4, 43), "Europe/London"),
        (PLACES["London"], (2024, 6, 21), "sunset", (21, 21), "Europe/London"),
        (PLACES["London"], (2024, 12, 21), "sunrise", (8, 3), "Europe/London"),
        (PLACES["London"], (2024, 12, 21), "sunset", (15, 53), "Europe/London"),
    ],
)
def test_events_agree_with_the_almanac(place, day, event, local, zone):
    found = schedules.sun_event(event, datetime.date(*day), Place(*place)).time
    expected = datetime.datetime(*day, *local, tzinfo=zoneinfo.ZoneInfo(zone))
    assert abs(found - expected) < 2 * MINUTE


@settings(deadline=None)
@given(
    latitude=st.floats(-50, 50),
    longitude=st.floats(-179, 179),
    day=st.dates(datetime.date(2020, 1, 1), datetime.date(2040, 1, 1)),
)
def test_sunrise_agrees_with_the_library_where_it_is_simple(latitude, longitude, day):
    from astral import Observer
    from astral.sun import SunDirection, time_of_transit

    zenith = 90.833
    for event, direction in (
        ("sunrise", SunDirection.RISING),
        ("sunset", SunDirection.SETTING),
    ):
        ours = schedules.sun_event(event, day, Place(latitude, longitude)).time
        theirs = time_of_transit(
            Observer(latitude, longitude, 0.0), day, zenith, direction, False
        )
        difference = (ours - theirs + DAY / 2) % DAY - DAY / 2
        # The library may take the sun's declination a day early or late.
        assert abs(difference) < 3 * MINUTE


@pytest.mark.parametrize("event", ["dawn", "sunrise", "sunset", "dusk"])
def test_an_event_is_the_first_second_of_its_new_state(event):
    from astral import Observer
    from astral.sun import elevation

    horizon = -6 if event in {"dawn", "dusk"} else -0.833
    moment = schedules.sun_event(
        event, datetime.date(2026, 4, 5), Place(*PLACES["London"])
    ).time
    observer = Observer(*PLACES["London"], 0.0)
    up = [
        elevation(observer, moment + n * datetime.timedelta(seconds=1), False)
        >= horizon
        for n in (-1, 0)
    ]
    assert up == ([False, True] if event in {"dawn", "sunrise"} else [True, False])


CONDITIONS = {
    "dawn": DawnTimeInterval,
    "sunrise": SunriseTimeInterval,
    "sunset": SunsetTimeInterval,
    "dusk": DuskTimeInterval,
}


@pytest.mark.parametrize("event", CONDITIONS)
@pytest.mark.parametrize("zone", ["UTC", pytz.timezone("Europe/London")], ids=str)
@pytest.mark.parametrize("name", ["Quito", "Christchurch", "Longyearbyen"])
def test_dawn_and_dusk_follow_the_deployment_and_not_the_time_zone(event, zone, name):
    condition = CONDITIONS[event](duration=30, timezone=zone)
    condition.use_deployment(at(PLACES[name]))
    moment = schedules.sun_event(
        event, datetime.date(2026, 4, 5), Place(*PLACES[name])
    ).time
    half = 30 * MINUTE
    second = datetime.timedelta(seconds=1)
    assert not condition.should_record(moment - half - second)
    assert condition.should_record(moment - half)
    assert condition.should_record(moment)
    assert condition.should_record(moment + half - second)
    assert not condition.should_record(moment + half)
    naive = moment.replace(tzinfo=None)
    assert condition.should_record(naive)
    assert condition.should_record(
        moment.astimezone(zoneinfo.ZoneInfo("Pacific/Auckland"))
    )


@pytest.mark.parametrize("name", PLACES)
def test_windows_around_an_event_are_right_for_every_minute(name):
    condition = IsNearSunEvent("dawn", 45, "UTC", offset=-20)
    condition.use_deployment(at(PLACES[name]))
    events = [
        schedules.sun_event("dawn", FIRST.date() + n * DAY, Place(*PLACES[name])).time
        for n in range(-2, 368)
    ]
    middles = np.array([(event - FIRST) / MINUTE - 20 for event in events])
    minutes = np.arange(MINUTES)
    following = np.searchsorted(middles, minutes)
    inside = (middles[following] - minutes <= 45) | (
        minutes - middles[following - 1] < 45
    )
    windows = schedules.preview([condition], FIRST, FIRST + MINUTES * MINUTE)
    assert (as_mask(windows) == inside).all()
    for n in range(0, MINUTES, 1997):
        instant = FIRST + n * MINUTE
        assert condition.should_record(instant) == inside[n]


def test_bats_are_recorded_from_before_sunset_to_after_sunrise():
    condition = IsInSunInterval(
        SunMoment("sunset", -30), SunMoment("sunrise", 30), "Europe/London"
    )
    condition.use_deployment(at(PLACES["London"]))
    start = datetime.datetime(2024, 6, 21, 12, tzinfo=UTC)
    (window,) = schedules.preview([condition], start, start + DAY)
    expected = (
        datetime.datetime(2024, 6, 21, 19, 51, tzinfo=UTC),
        datetime.datetime(2024, 6, 22, 4, 13, tzinfo=UTC),
    )
    for found, almanac in zip(window, expected, strict=True):
        assert abs(found - almanac) < 2 * MINUTE


def test_polar_night_is_night_all_day_and_polar_day_is_not_night_at_all():
    night = IsInSunInterval("sunset", "sunrise", "Arctic/Longyearbyen")
    night.use_deployment(at(PLACES["Longyearbyen"]))
    for month, expected in ((12, True), (6, False)):
        start = datetime.datetime(2025, month, 15, tzinfo=UTC)
        assert {night.should_record(start + n * MINUTE) for n in range(2880)} == {
            expected
        }


def test_a_polar_day_is_recorded_around_midnight_in_place_of_dawn():
    dawn = DawnTimeInterval(duration=30, timezone="Arctic/Longyearbyen")
    dawn.use_deployment(at(PLACES["Longyearbyen"]))
    start = datetime.datetime(2025, 6, 15, 12, tzinfo=UTC)
    (window,) = schedules.preview([dawn], start, start + DAY)
    # 15.65 degrees east: solar midnight 63 minutes before midnight UTC.
    middle = window[0] + (window[1] - window[0]) / 2
    assert window[1] - window[0] == 60 * MINUTE
    assert abs(middle - datetime.datetime(2025, 6, 15, 22, 57, tzinfo=UTC)) < 5 * MINUTE


def test_equal_moments_mean_always_and_crossed_ones_never():
    start, end = FIRST, FIRST + 3 * DAY
    always = IsInSunInterval("dawn", "dawn", "UTC")
    never = IsInSunInterval(SunMoment("sunrise", 500), SunMoment("sunset", -500), "UTC")
    for condition in (always, never):
        condition.use_deployment(at(PLACES["London"]))
    assert schedules.preview([always], start, end) == [(start, end)]
    assert schedules.preview([never], start, end) == []


@pytest.mark.parametrize(
    ("timezone", "latitude", "longitude", "origin"),
    [
        ("Europe/London", 51.51, -0.13, "timezone"),
        ("GB", 51.51, -0.13, "timezone"),
        ("Asia/Calcutta", 22.53, 88.37, "timezone"),
        ("Pacific/Auckland", -36.87, 174.77, "timezone"),
        ("UTC", 0, 0, "offset"),
        ("Etc/GMT+3", 0, -45, "offset"),
        (datetime.timezone(datetime.timedelta(hours=5, minutes=30)), 0, 82.5, "offset"),
    ],
)
def test_without_coordinates_the_time_zone_gives_the_place(
    timezone, latitude, longitude, origin
):
    place = schedules.place_of_timezone(schedules.as_timezone(timezone))
    assert (round(place.latitude, 2), round(place.longitude, 2)) == (
        latitude,
        longitude,
    )
    assert place.origin == origin


def test_every_time_zone_gives_a_place_on_earth():
    for zone in sorted(pytz.all_timezones_set & zoneinfo.available_timezones()):
        place = schedules.place_of_timezone(zoneinfo.ZoneInfo(zone))
        assert -90 <= place.latitude <= 90, zone
        assert -180 <= place.longitude <= 180, zone


@pytest.mark.parametrize(
    "deployment",
    [None, data.Deployment(name="x"), data.Deployment(name="x", latitude=10)],
    ids=["none", "no coordinates", "half of them"],
)
def test_missing_coordinates_are_said_once_with_the_remedy(caplog, deployment):
    condition = DawnTimeInterval(duration=30, timezone="Asia/Tokyo")
    if deployment is not None:
        condition.use_deployment(deployment)
    with caplog.at_level(logging.WARNING):
        condition.should_record()
        condition.should_record()
    (record,) = caplog.records
    assert "Asia/Tokyo (latitude 35.65, longitude 139.74)" in record.message
    assert "latitude and longitude" in record.message
    assert condition.place.origin == "timezone"


def test_coordinates_given_later_are_used_from_then_on(caplog):
    condition = DawnTimeInterval(duration=30, timezone="Asia/Tokyo")
    assert condition.place.origin == "timezone"
    caplog.clear()
    condition.use_deployment(at(PLACES["Quito"]))
    assert (condition.place.latitude, condition.place.longitude) == PLACES["Quito"]
    condition.should_record()
    assert caplog.records == []


def test_at_the_poles_there_is_an_answer():
    for latitude in (90, -90, 89.99):
        condition = DawnTimeInterval(duration=30, timezone="UTC")
        condition.use_deployment(at((latitude, 0)))
        answers = {
            condition.should_record(FIRST + n * 60 * MINUTE) for n in range(365 * 24)
        }
        assert answers <= {True, False}


@pytest.mark.parametrize("duration", [0, -1, 721, float("nan"), float("inf")])
def test_impossible_durations_are_refused(duration):
    with pytest.raises(ConfigurationError, match="duration is"):
        DawnTimeInterval(duration=duration, timezone="UTC")


def test_unknown_events_and_impossible_offsets_are_refused():
    with pytest.raises(ConfigurationError, match="event is 'noon'"):
        IsInSunInterval("noon", "dusk", "UTC")
    with pytest.raises(ConfigurationError, match="offset is 721"):
        DuskTimeInterval(duration=30, timezone="UTC", offset=721)
