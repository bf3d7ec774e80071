"""One right reading of both clocks dates everything a boot recorded."""

from __future__ import annotations

import datetime
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoupi import data
from acoupi.components import clock_correction
from acoupi.components.clock_correction import (
    TOLERANCE,
    ClockReading,
    correct_recording,
    find_offset,
    is_uncorrected,
    read_clocks,
)

BEGAN = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def make(created_on, monotonic=0.0, *, synchronised=False, corrected=False):
    clock = data.ClockState(
        synchronised=synchronised,
        boot_id="b",
        monotonic=monotonic,
        corrected=corrected,
    )
    return data.Recording(
        created_on=created_on,
        duration=1,
        samplerate=8000,
        deployment=data.Deployment(name="d", started_on=EPOCH),
        capture=data.CaptureReport(clock=clock),
    )


@given(
    monotonic=st.floats(0, 1e8),
    later=st.floats(0, 1e8),
    error=st.timedeltas(datetime.timedelta(days=-20000), datetime.timedelta(days=9000)),
)
def test_the_true_time_comes_back_whatever_the_clock_said(monotonic, later, error):
    uptime = monotonic + later
    state = data.ClockState(synchronised=True, boot_id="b", monotonic=uptime)
    reading = ClockReading(BEGAN + datetime.timedelta(seconds=uptime), state)
    true_time = BEGAN + datetime.timedelta(seconds=monotonic)
    recording = make(true_time + error, monotonic)
    corrected = correct_recording(recording, reading.began_on)
    microsecond = datetime.timedelta(microseconds=2)
    assert abs(corrected.created_on - true_time) <= TOLERANCE + microsecond
    assert abs(find_offset(recording, reading.began_on) + error) <= microsecond
    assert not is_uncorrected(corrected)
    assert correct_recording(corrected, EPOCH) is corrected


def test_small_differences_leave_the_time_as_it_is():
    near = make(BEGAN + TOLERANCE)
    assert correct_recording(near, BEGAN).created_on == near.created_on
    assert not is_uncorrected(correct_recording(near, BEGAN))
    far = make(BEGAN + TOLERANCE * 1.01)
    assert correct_recording(far, BEGAN).created_on == BEGAN


def test_what_needs_no_correction_comes_back_as_it_is():
    without = make(EPOCH).model_copy(update={"capture": None})
    for recording in (
        make(EPOCH, synchronised=True),
        make(EPOCH, corrected=True),
        without,
    ):
        assert not is_uncorrected(recording)
        assert correct_recording(recording, BEGAN) is recording
    with pytest.raises(ValueError, match="no state of the clock"):
        find_offset(without, BEGAN)


def test_both_clocks_are_read_at_one_moment():
    ticks = iter([10.0, 10.5])
    reading = read_clocks(wall=lambda: 2000.25, monotonic=lambda: next(ticks))
    assert reading.began_on == EPOCH + datetime.timedelta(seconds=1990)
    real = read_clocks()
    assert abs(real.now.timestamp() - time.time()) < 5
    assert abs(real.state.monotonic - time.monotonic()) < 5


def test_a_clock_set_while_it_is_read_is_not_believed_yet(monkeypatch):
    answers = iter([False, True])
    monkeypatch.setattr(
        clock_correction, "clock_is_synchronised", lambda: next(answers)
    )
    assert not read_clocks().state.synchronised
