"""Recordings kept for the time at which they began."""

from __future__ import annotations

import datetime
import logging
import zoneinfo

import pytest
import pytz

from acoupi import data
from acoupi.components import schedules
from acoupi.components.saving_filters import (
    After_DawnDuskTimeInterval,
    Before_DawnDuskTimeInterval,
    FrequencySchedule,
    SaveIfInInterval,
)
from acoupi.errors import ConfigurationError

UTC = datetime.UTC
SECOND = datetime.timedelta(seconds=1)
MINUTE = datetime.timedelta(minutes=1)
QUITO = data.Deployment(name="Quito", latitude=-0.2, longitude=-78.5)
SYDNEY = data.Deployment(name="Sydney", latitude=-33.9, longitude=151.2)
NOWHERE = data.Deployment(name="nowhere")


def recorded(created_on, deployment=NOWHERE):
    return data.Recording(
        created_on=created_on, duration=3, samplerate=48000, deployment=deployment
    )


@pytest.mark.parametrize(
    "timezone",
    ["Asia/Tokyo", zoneinfo.ZoneInfo("Asia/Tokyo"), pytz.timezone("Asia/Tokyo")],
    ids=["name", "zoneinfo", "pytz"],
)
def test_intervals_are_in_the_time_zone_of_the_filter(timezone):
    saving = SaveIfInInterval(
        interval=data.TimeInterval(start=datetime.time(22), end=datetime.time(4)),
        timezone=timezone,
    )
    midnight = datetime.datetime(2026, 6, 1, tzinfo=UTC)
    kept = [
        hour
        for hour in range(24)
        if saving.should_save_recording(
            recorded(midnight + datetime.timedelta(hours=hour))
        )
    ]
    assert kept == [13, 14, 15, 16, 17, 18]


def test_what_counts_is_when_the_recording_began_and_not_now(monkeypatch):
    saving = SaveIfInInterval(
        interval=data.TimeInterval(start=datetime.time(6), end=datetime.time(7)),
        timezone="UTC",
    )
    noon = datetime.datetime(2026, 6, 1, 12, tzinfo=UTC)
    monkeypatch.setattr("acoupi.data.utc_now", lambda: noon)
    assert saving.should_save_recording(recorded(noon - 6 * 60 * MINUTE), [])
    assert not saving.should_save_recording(recorded(noon), [])


def test_every_half_hour_five_minutes_are_kept():
    saving = FrequencySchedule(duration=5, frequency=30)
    midnight = datetime.datetime(2026, 6, 1, tzinfo=UTC)
    kept = [
        minute
        for minute in range(1440)
        if saving.should_save_recording(recorded(midnight + minute * MINUTE))
    ]
    assert kept == [m for m in range(1440) if m % 30 < 5]


def test_impossible_schedules_are_refused():
    with pytest.raises(ConfigurationError, match="frequency is 5"):
        FrequencySchedule(duration=10, frequency=5)


@pytest.mark.parametrize("deployment", [QUITO, SYDNEY], ids=lambda d: d.name)
@pytest.mark.parametrize("event", ["dawn", "dusk"])
@pytest.mark.parametrize("zone", ["Europe/London", pytz.utc], ids=str)
def test_before_and_after_dawn_and_dusk_where_the_recording_was_made(
    deployment, event, zone
):
    place = schedules.place_of_deployment(deployment)
    moment = schedules.sun_event(event, datetime.date(2026, 6, 21), place).time
    before = Before_DawnDuskTimeInterval(duration=20, timezone=zone)
    after = After_DawnDuskTimeInterval(duration=20, timezone=zone)
    for shift, is_before, is_after in (
        (-20 * MINUTE - SECOND, False, False),
        (-20 * MINUTE, True, False),
        (-SECOND, True, False),
        (SECOND * 0, False, True),
        (20 * MINUTE - SECOND, False, True),
        (20 * MINUTE, False, False),
    ):
        recording = recorded(moment + shift, deployment)
        assert before.should_save_recording(recording) is is_before
        assert after.should_save_recording(recording) is is_after


def test_the_current_deployment_serves_recordings_without_coordinates(caplog):
    moment = schedules.sun_event(
        "dawn", datetime.date(2026, 6, 21), schedules.place_of_deployment(QUITO)
    ).time
    saving = After_DawnDuskTimeInterval(duration=20, timezone="Europe/London")
    assert not saving.should_save_recording(recorded(moment))
    assert len(caplog.records) == 1
    saving.use_deployment(QUITO)
    assert saving.should_save_recording(recorded(moment))
    assert not saving.should_save_recording(recorded(moment, SYDNEY))


def test_without_any_coordinates_the_time_zone_gives_the_place_and_says_so(caplog):
    saving = After_DawnDuskTimeInterval(duration=20, timezone="Australia/Sydney")
    place = schedules.place_of_timezone(zoneinfo.ZoneInfo("Australia/Sydney"))
    moment = schedules.sun_event("dusk", datetime.date(2026, 6, 21), place).time
    with caplog.at_level(logging.WARNING):
        assert saving.should_save_recording(recorded(moment))
        assert not saving.should_save_recording(recorded(moment - SECOND))
    (record,) = caplog.records
    assert "Australia/Sydney" in record.message


@pytest.mark.parametrize("duration", [0, -5, 721, float("nan")])
def test_impossible_durations_are_refused(duration):
    for kind in (Before_DawnDuskTimeInterval, After_DawnDuskTimeInterval):
        with pytest.raises(ConfigurationError, match="duration is"):
            kind(duration=duration, timezone="UTC")
