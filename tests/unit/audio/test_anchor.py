from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoupi.audio.anchor import BlockMark, NominalClock, StreamClock

RATE = 48_000
BLOCK = 4_096


class Device:
    """A simulated sound card: its frames, its clock's error, its driver's habits."""

    def __init__(self, *, ppm=0.0, jitter=0.001, burst=1, delays=True, seed=0):
        self.rate = RATE * (1 - ppm * 1e-6)
        self.jitter = jitter
        self.burst = burst
        self.delays = delays
        self.chance = random.Random(seed)
        self.taken = 0  # frames sounded since the start, lost ones included
        self.start = 1000.0
        self.last = 0.0
        self.clock = StreamClock(RATE)
        self.frame = 0  # frames numbered by the listener
        self.found: list[tuple[int, int]] = []

    def run(self, seconds, *, late=0.0, overflow=False):
        for _ in range(round(seconds * RATE / BLOCK / self.burst)):
            end = self.start + (self.taken + self.burst * BLOCK) / self.rate
            now = end + late + abs(self.chance.gauss(0, self.jitter))
            now = self.last = max(now, self.last)
            for _ in range(self.burst):
                delay = now - self.start - self.taken / self.rate
                self._deliver(now, delay if self.delays else None, overflow)
                overflow = False

    def _deliver(self, now, delay, overflow):
        mark = BlockMark(0, BLOCK, 0, now, delay, overflow)
        found = self.clock.feed(self.frame, mark)
        self.taken += BLOCK
        self.frame += BLOCK
        if found is not None:
            self.found.append(found)
            self.frame += found[1]

    def lose(self, frames):
        self.taken += frames

    def error_of_dates(self):
        """Seconds between the true and the told time of the newest frame."""
        true = self.start + self.taken / self.rate
        return self.clock.time_of(self.frame) - true


@pytest.mark.parametrize("ppm", [-300, -50, 0, 20, 300])
@pytest.mark.parametrize("jitter", [0.0001, 0.002, 0.02])
@pytest.mark.parametrize("burst", [1, 8])
def test_a_stream_that_loses_nothing_is_never_accused(ppm, jitter, burst):
    device = Device(ppm=ppm, jitter=jitter, burst=burst)
    device.run(300)
    assert device.found == []
    assert abs(device.error_of_dates()) < 0.005 + jitter


@pytest.mark.parametrize("delays", [True, False])
@pytest.mark.parametrize("lost", [960, 10_000, 96_000])
def test_an_unannounced_loss_is_found_and_placed(lost, delays):
    device = Device(ppm=40, jitter=0.0002, delays=delays)
    device.run(60)
    at = device.frame
    device.lose(lost)
    device.run(30)
    assert [found for found, _ in device.found] == [at]
    assert device.found[0][1] == pytest.approx(lost, abs=20)
    assert abs(device.error_of_dates()) < 0.001


def test_a_loss_announced_by_the_driver_counts_however_small():
    device = Device(jitter=0.0001)
    device.run(60)
    at = device.frame
    device.lose(96)
    device.run(10, overflow=True)
    assert [found for found, _ in device.found] == [at]
    assert device.found[0][1] == pytest.approx(96, abs=20)
    assert device.clock.overflows == 1


def test_frames_are_held_back_while_a_loss_is_looked_into():
    device = Device()
    device.run(60)
    at = device.frame
    device.lose(48_000)
    device.run(1)
    assert device.clock.settled == at
    device.run(5)
    assert device.clock.settled == device.frame
    assert device.frame == pytest.approx(device.taken, abs=48)


def test_a_machine_that_pauses_and_catches_up_lost_nothing():
    device = Device()
    device.run(30)
    for _ in range(20):
        # Half a second of blocks arrives at once, half a second late.
        due = device.start + device.taken / device.rate + 0.5
        device.last = max(device.last, due)
        device.run(1)
    assert device.found == []


@pytest.mark.parametrize("late", [0.03, 0.3])
def test_late_arrivals_are_not_losses_when_the_driver_knows_the_delay(late):
    device = Device()
    device.run(30)
    device.run(60, late=late)
    device.run(30)
    assert device.found == []


def test_a_slow_drain_of_frames_is_accounted_to_the_millisecond():
    device = Device(jitter=0.0005)
    device.run(20)
    lost = 0
    for _ in range(60):
        device.run(0.7)
        device.lose(12_000)
        lost += 12_000
    device.run(10)
    assert sum(count for _, count in device.found) == pytest.approx(lost, abs=480)


@settings(max_examples=25, deadline=None)
@given(
    ppm=st.floats(-200, 200),
    losses=st.lists(st.integers(1_500, 200_000), max_size=4),
    seed=st.integers(0, 1000),
)
def test_every_loss_is_found_whatever_the_clock_error(ppm, losses, seed):
    device = Device(ppm=ppm, jitter=0.0003, seed=seed)
    device.run(40)
    for lost in losses:
        device.lose(lost)
        device.run(12)
    assert len(device.found) == len(losses)
    for (_, told), lost in zip(device.found, losses, strict=True):
        assert told == pytest.approx(lost, abs=48)


def test_dates_of_contiguous_recordings_are_contiguous():
    device = Device(ppm=80, jitter=0.003)
    previous = None
    for _ in range(200):
        device.run(3)
        told = device.clock.time_of(device.frame)
        frames = device.frame
        if previous is not None:
            step = told - previous[0]
            assert abs(step - (frames - previous[1]) / RATE) < 0.002
        previous = (told, frames)


def test_an_announced_loss_counts_even_when_the_stream_ends_there():
    device = Device()
    device.run(20)
    at = device.frame
    device.lose(5_000)
    device.run(0.2, overflow=True)
    assert device.found == []
    found = device.clock.conclude()
    assert found is not None
    assert found[0] == at
    assert found[1] == pytest.approx(5_000, abs=200)


def test_a_stream_without_a_clock_is_dated_from_its_first_frame():
    clock = NominalClock(1000)
    with pytest.raises(ValueError, match="cannot be dated"):
        clock.time_of(0)
    clock.feed(0, BlockMark(0, 100, 0, 50.1, None, False))
    clock.feed(100, BlockMark(100, 100, 0, 57.0, None, False))
    assert clock.time_of(0) == pytest.approx(50.0)
    assert clock.time_of(1000) == pytest.approx(51.0)
    assert clock.settled == 200
