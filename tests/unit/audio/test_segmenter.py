from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoupi.audio.segmenter import Segmenter

PIECES = st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=40)


@given(duration=st.integers(1, 12), interval=st.integers(1, 30), pieces=PIECES)
def test_each_wanted_frame_is_in_exactly_one_recording(duration, interval, pieces):
    segmenter = Segmenter(duration, interval, lambda slot: True)
    interval = max(interval, duration)
    position = 0
    taken = []
    for frames, lost in pieces:
        for cut in segmenter.advance(frames, lost=lost):
            assert cut.lost is lost
            assert position <= cut.start < cut.stop <= position + frames
            assert cut.slot % interval == 0
            assert cut.slot <= cut.start < cut.stop <= cut.slot + duration
            assert cut.closes is (cut.stop == cut.slot + duration)
            taken.extend(range(cut.start, cut.stop))
        position += frames
    assert segmenter.position == position
    assert taken == [n for n in range(position) if n % interval < duration]


@given(duration=st.integers(1, 12), pieces=PIECES)
def test_contiguous_recordings_leave_no_frame_out(duration, pieces):
    segmenter = Segmenter(duration, duration, lambda slot: True)
    taken = [
        number
        for frames, lost in pieces
        for cut in segmenter.advance(frames, lost=lost)
        for number in range(cut.start, cut.stop)
    ]
    assert taken == list(range(sum(frames for frames, _ in pieces)))


@given(
    duration=st.integers(1, 9),
    interval=st.integers(1, 20),
    pieces=PIECES,
    unwanted=st.sets(st.integers(0, 50)),
)
def test_it_asks_once_per_recording_at_its_first_frame(
    duration, interval, pieces, unwanted
):
    asked = []

    def wanted(slot: int) -> bool:
        asked.append(slot)
        return slot // max(interval, duration) not in unwanted

    segmenter = Segmenter(duration, interval, wanted)
    cuts = [cut for frames, lost in pieces for cut in segmenter.advance(frames)]
    interval = max(interval, duration)
    end = sum(frames for frames, _ in pieces)
    assert asked == list(range(0, end, interval))
    assert all(cut.slot // interval not in unwanted for cut in cuts)


def test_a_recording_without_length_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Segmenter(0, 10, lambda slot: True)
