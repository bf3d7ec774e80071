"""Duty cycles, and the preview of any mixture of conditions."""

from __future__ import annotations

import datetime
import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoupi import data
from acoupi.components import schedules
from acoupi.components.conditions import (
    DawnTimeInterval,
    DuskTimeInterval,
    HasSufficientSpace,
    IsInDutyCycle,
    IsInInterval,
    IsInIntervals,
    IsInSunInterval,
)
from acoupi.components.types import RecordingCondition
from acoupi.errors import ConfigurationError

UTC = datetime.UTC
MINUTE = datetime.timedelta(minutes=1)
SECOND = datetime.timedelta(seconds=1)
DAY = datetime.timedelta(days=1)
START = datetime.datetime(2026, 3, 28, tzinfo=UTC)  # Europe changes its clocks next day
LONDON = data.Deployment(name="x", latitude=51.5, longitude=-0.1)

instants = st.datetimes(
    datetime.datetime(1971, 1, 1),  # noqa: DTZ001 - bounds are naive by contract
    datetime.datetime(2090, 1, 1),  # noqa: DTZ001 - bounds are naive by contract
    timezones=st.just(UTC),
)
minutes_of_day = st.integers(0, 1439).map(
    lambda minute: datetime.time(minute // 60, minute % 60)
)
intervals = st.builds(data.TimeInterval, start=minutes_of_day, end=minutes_of_day)
zones = st.sampled_from(
    ["UTC", "Europe/London", "America/St_Johns", "Australia/Lord_Howe", "Asia/Tokyo"]
)
offsets = st.integers(-180, 180)
moments = st.builds(
    schedules.SunMoment,
    st.sampled_from(["dawn", "sunrise", "sunset", "dusk"]),
    offsets,
)
conditions = st.one_of(
    st.builds(IsInInterval, intervals, zones),
    st.builds(IsInIntervals, st.lists(intervals, min_size=1, max_size=3), zones),
    st.builds(IsInSunInterval, moments, moments, zones),
    st.builds(DawnTimeInterval, st.integers(1, 400), zones, offsets),
    st.builds(DuskTimeInterval, st.integers(1, 400), zones, offsets),
    st.builds(
        lambda on, off, offset: IsInDutyCycle(on, on + off, offset),
        st.integers(1, 200),
        st.integers(0, 300),
        offsets,
    ),
)
places = st.builds(
    data.Deployment,
    name=st.just("x"),
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
)


class OnlyAnswers(RecordingCondition):
    """A condition of somebody else's: it answers, and knows nothing of previews."""

    def __init__(self, inner):
        self.inner = inner

    def should_record(self, now=None):
        return self.inner.should_record(now)


@settings(deadline=None)
@given(
    on=st.integers(1, 3600),
    off=st.integers(0, 7200),
    offset=st.integers(-600, 600),
    instant=instants,
)
def test_a_duty_cycle_is_on_for_its_share_of_every_cycle(on, off, offset, instant):
    cycle = schedules.DutyCycle(on / 60, (on + off) / 60, offset)
    seconds = int(instant.timestamp())
    whole = instant.replace(microsecond=0)
    expected = (seconds - offset * 60) % (on + off) < on
    # Cycles of whole seconds are whole seconds in floating-point minutes, too.
    assert (whole in cycle) == expected
    assert ((whole + (on + off) * SECOND) in cycle) == expected


@settings(deadline=None, max_examples=50)
@given(on=st.integers(1, 60), off=st.integers(1, 60), instant=instants)
def test_the_changes_of_a_duty_cycle_are_where_it_changes(on, off, instant):
    cycle = schedules.DutyCycle(on, on + off)
    end = instant + 10 * 60 * MINUTE
    changes = list(cycle.changes(instant, end))
    assert changes == sorted(changes)
    microsecond = datetime.timedelta(microseconds=1)
    for change in changes:
        assert (change in cycle) != ((change - microsecond) in cycle)
    states = [t in cycle for t in [instant, *changes]]
    assert all(a != b for a, b in itertools.pairwise(states))


def test_duty_cycles_begin_at_midnight_utc_when_they_divide_the_day():
    cycle = IsInDutyCycle(duration=5, frequency=30)
    windows = schedules.preview([cycle], START, START + 60 * MINUTE)
    assert windows == [
        (START, START + 5 * MINUTE),
        (START + 30 * MINUTE, START + 35 * MINUTE),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 10), "duration is 0"),
        ((-1, 10), "duration is -1"),
        ((float("nan"), 10), "duration is nan"),
        ((10, 5), "frequency is 5"),
        ((10, float("inf")), "frequency is inf"),
        ((10, float("nan")), "frequency is nan"),
        ((1, 10, float("nan")), "offset is nan"),
    ],
)
def test_impossible_cycles_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        IsInDutyCycle(*arguments)


@settings(deadline=None, max_examples=150)
@given(
    chosen=st.lists(conditions, max_size=3),
    place=places,
    day=st.integers(0, 365),
    probes=st.lists(st.integers(0, 2 * 86400 - 1), min_size=20, max_size=60),
)
def test_a_preview_says_what_the_conditions_will_say(chosen, place, day, probes):
    start = START + day * DAY
    for condition in chosen:
        condition.use_deployment(place)
    windows = schedules.preview(chosen, start, start + 2 * DAY)
    edges = [edge for window in windows for edge in window]
    assert edges == sorted(set(edges)), "in order, and no two adjacent"
    around = [
        int((edge - start).total_seconds()) + shift
        for edge in edges
        for shift in (-1, 0, 1)
    ]
    for second in {*probes, *around}:
        if not 0 <= second < 2 * 86400:
            continue
        instant = start + second * SECOND
        answer = all(condition.should_record(instant) for condition in chosen)
        assert answer == any(a <= instant < b for a, b in windows)


@settings(deadline=None, max_examples=40)
@given(condition=conditions, place=places)
def test_conditions_that_only_answer_are_sampled_and_refined(condition, place):
    condition.use_deployment(place)
    exact = schedules.preview([condition], START, START + DAY)
    step = 2 * MINUTE
    sampled = schedules.preview([OnlyAnswers(condition)], START, START + DAY, step)
    edges = [START, *(edge for window in exact for edge in window), START + DAY]
    if any(b - a < 2 * step for a, b in itertools.pairwise(edges) if a != b):
        return  # what is shorter than the step may be overlooked, as documented
    assert len(sampled) == len(exact)
    for found, wanted in zip(sampled, exact, strict=True):
        for a, b in zip(found, wanted, strict=True):
            assert abs(a - b) <= SECOND


def test_a_window_that_would_begin_at_the_end_is_not_shown():
    for condition in (
        IsInInterval(
            data.TimeInterval(start=datetime.time(0), end=datetime.time(0, 4)), "UTC"
        ),
        IsInDutyCycle(4, 1440),
    ):
        expected = [(START, START + 4 * MINUTE)]
        for asked in (condition, OnlyAnswers(condition)):
            assert schedules.preview([asked], START, START + DAY) == expected


def test_without_conditions_everything_is_recorded():
    assert schedules.preview([], START, START + DAY) == [(START, START + DAY)]


def test_naive_bounds_are_utc():
    naive = START.replace(tzinfo=None)
    assert schedules.preview([], naive, naive + DAY) == [(START, START + DAY)]


def test_free_space_is_no_part_of_a_schedule(tmp_path):
    full = HasSufficientSpace(path=tmp_path, min_space=10**9, unit="TB")
    assert not full.should_record()
    assert schedules.preview([full], START, START + DAY) == [(START, START + DAY)]


@pytest.mark.parametrize("length", [0 * DAY, -1 * DAY, 4000 * DAY])
def test_impossible_previews_are_refused(length):
    with pytest.raises(ConfigurationError, match="the preview's end"):
        schedules.preview([], START, START + length)


def test_too_short_a_step_is_refused():
    with pytest.raises(ConfigurationError, match="step is"):
        schedules.preview([], START, START + DAY, SECOND / 2)


def test_fourteen_days_are_previewed_in_half_a_second():
    mixture = [
        IsInIntervals(
            [
                data.TimeInterval(start=datetime.time(4), end=datetime.time(9)),
                data.TimeInterval(start=datetime.time(20), end=datetime.time(1)),
            ],
            "Europe/London",
        ),
        IsInSunInterval("dusk", "sunrise", "Europe/London"),
        IsInDutyCycle(1, 5),
        OnlyAnswers(DawnTimeInterval(240, "Europe/London")),
    ]
    for condition in mixture:
        condition.use_deployment(LONDON)
    mixture[-1].inner.use_deployment(LONDON)
    # Processor time, so that what else the machine does is not measured.
    began = time.process_time()
    windows = schedules.preview(mixture, START, START + 14 * DAY)
    assert time.process_time() - began < 0.5
    assert len(windows) > 100
