from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoupi.audio.capture import Capture
from acoupi.audio.sources import Source, SourceError, SourceStream
from acoupi.audio.take import Take
from acoupi.audio.wav import SoundFormat

FORMAT = SoundFormat(1000, 1, 4)


class FakeStream(SourceStream):
    """Delivers numbered frames when it is told to."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.format = FORMAT
        self.identity = "fake"
        self.clock_tolerance = None
        self.sink = None
        self.closed = threading.Event()
        self.release = threading.Event()
        self.over = False
        self.hangs = hangs
        self.number = 0

    @property
    def ended(self) -> bool:
        return self.over

    def start(self, sink) -> None:
        self.sink = sink

    def close(self) -> None:
        if self.hangs:
            self.release.wait(30)
        self.closed.set()

    def send(self, frames: int) -> None:
        numbers = range(self.number, self.number + frames)
        self.number += frames
        block = b"".join(n.to_bytes(4, "little") for n in numbers)
        self.sink.deliver(block, frames, time.monotonic(), None, False)


class FakeSource(Source):
    """Gives the streams or errors that it was given, then refuses."""

    def __init__(self, *outcomes) -> None:
        self.outcomes = list(outcomes)
        self.attempts = 0
        self.over = False

    @property
    def exhausted(self) -> bool:
        return self.over

    def open(self) -> SourceStream:
        self.attempts += 1
        outcome = self.outcomes.pop(0) if self.outcomes else SourceError("gone")
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def read(take: Take, most: int = 1000) -> list[int | str]:
    """Read all that is certain: numbers of frames, and L for each lost one."""
    found: list[int | str] = []
    while (run := take.next_run(most)) is not None:
        if run.samples is None:
            found += ["L"] * run.frames
        else:
            found += run.samples.cast("I").tolist()
            assert len(run.samples) == 4 * run.frames
        take.finish_run(run)
    return found


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.integers(1, 700)),
            st.tuples(st.just("read"), st.integers(1, 500)),
        ),
        max_size=60,
    )
)
def test_every_frame_is_read_in_its_place_or_known_as_lost(steps):
    stream = FakeStream()
    take = Take(stream, ring_seconds=1.024)
    stream.start(take)
    found = []
    for what, count in steps:
        if what == "send":
            stream.send(count)
        else:
            run = take.next_run(count)
            if run is not None:
                assert run.frame == len(found)
                taken = min(run.frames, count)
                if run.samples is None:
                    found += ["L"] * taken
                else:
                    found += run.samples.cast("I").tolist()[:taken]
                take.finish_run(run, taken)
    take.closed = True
    found += read(take)
    assert take.drained
    assert len(found) == stream.number
    assert all(value in {number, "L"} for number, value in enumerate(found))
    refused = sum(value == "L" for value in found)
    assert take.ring.stored == stream.number - refused


def test_a_stall_longer_than_the_ring_is_known_to_the_frame():
    stream = FakeStream()
    take = Take(stream, ring_seconds=2.0)
    stream.start(take)
    for _ in range(50):
        stream.send(100)
    assert read(take) == list(range(2000))
    for _ in range(5):
        stream.send(100)
    expected = ["L"] * 3000 + list(range(5000, 5500))
    assert read(take) == expected
    assert take.time_of(5500) - take.time_of(0) == pytest.approx(5.5)


@given(
    ring_seconds=st.floats(1.1, 8),
    stalls=st.lists(st.floats(0, 20), max_size=6),
    burst=st.integers(1, 8),
    overflow=st.integers(0, 40),
)
def test_a_full_ring_never_stops_the_stream(ring_seconds, stalls, burst, overflow):
    stream = FakeStream()
    stream.clock_tolerance = 0.01
    take = Take(stream, ring_seconds=ring_seconds)
    frames, now = 0, 100.0
    found = []
    block = bytes(4 * 100)

    def deliver_burst() -> None:
        nonlocal frames, now
        frames += 100 * burst
        now = 100 + frames / 1000
        for number in range(burst):
            take.deliver(block, 100, now, None, number == 0 and frames == overflow)

    for stall in [*stalls, 0.0]:
        end = now + stall
        while now < end:
            deliver_burst()
        before = len(found)
        for _ in range(100 // burst):
            deliver_burst()
            found += read_any(take)
        assert len(found) > before
    take.closed = True
    found += read_any(take)
    assert take.drained
    assert len(found) == frames


def read_any(take: Take) -> list[bool]:
    found = []
    while (run := take.next_run(1000)) is not None:
        if run.exact:
            found += [run.samples is not None] * run.frames
        take.finish_run(run)
    return found


def test_a_source_that_says_nothing_is_opened_again():
    first, second = FakeStream(), FakeStream()
    source = FakeSource(first, second)
    capture = Capture(source, patience=0.3)
    capture.start()
    try:
        until(lambda: first.sink is not None)
        first.send(10)
        until(first.closed.is_set)
        assert capture.failure is not None
        assert "is it unplugged" in capture.failure
        take = capture.take
        assert take is not None
        assert read(take) == list(range(10))
        until(lambda: second.sink is not None)
        second.send(10)
        until(lambda: capture.failure is None)
        assert capture.openings == 2
        assert capture.away > 0.2
        assert capture.alive
    finally:
        capture.stop()
    assert second.closed.is_set()


def test_no_number_of_failures_is_final():
    stream = FakeStream()
    failures = [SourceError("not there"), RuntimeError("a bug"), OSError("no bus")]
    source = FakeSource(*failures, stream)
    capture = Capture(source)
    capture._wait = lambda seconds: capture._stopping.wait(min(seconds, 0.01))
    capture.start()
    try:
        until(lambda: stream.sink is not None)
        assert source.attempts == 4
    finally:
        capture.stop()


def test_a_driver_that_hangs_is_reported_as_beyond_repair():
    stream = FakeStream(hangs=True)
    capture = Capture(FakeSource(stream), patience=0.2, close_patience=0.2)
    capture.start()
    try:
        until(lambda: capture.stuck)
        assert not capture.alive
        stream.release.set()
        until(lambda: capture.alive)
    finally:
        stream.release.set()
        capture.stop()


def test_a_source_that_came_to_its_end_is_not_opened_again():
    stream = FakeStream()
    source = FakeSource(stream)
    source.over = True
    capture = Capture(source)
    capture.start()
    try:
        until(lambda: stream.sink is not None)
        stream.send(5)
        stream.over = True
        until(lambda: capture.take is not None and capture.take.closed)
        take = capture.take
        assert take is not None
        assert read(take) == list(range(5))
        until(lambda: capture.ended)
        assert capture.alive
        assert source.attempts == 1
    finally:
        capture.stop()


def test_stopping_keeps_what_was_captured():
    stream = FakeStream()
    capture = Capture(FakeSource(stream))
    capture.start()
    until(lambda: stream.sink is not None)
    stream.send(20)
    until(lambda: capture.take is not None)
    capture.stop()
    take = capture.take
    assert take is not None
    assert read(take) == list(range(20))
    assert capture.take is None
