from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoupi.audio.ring import SampleRing


def drain(ring: SampleRing, frames: int) -> bytes:
    """Read up to that many frames, across the wrap point."""
    content = b""
    while frames:
        view = ring.peek(frames)
        if not view:
            break
        content += bytes(view)
        count = len(view) // ring.frame_bytes
        ring.consume(count)
        frames -= count
    return content


@given(
    capacity=st.integers(1, 17),
    frame_bytes=st.integers(1, 6),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=60),
)
def test_it_behaves_like_a_bounded_queue_at_every_wrap(capacity, frame_bytes, steps):
    ring = SampleRing(capacity, frame_bytes)
    model = b""
    counter = 0
    for writes, frames in steps:
        if writes:
            size = frames * frame_bytes
            block = bytes((counter + index) % 256 for index in range(size))
            fits = len(model) // frame_bytes + frames <= capacity
            assert ring.write(block) is fits
            if fits:
                model += block
                counter += size
        else:
            expected = model[: frames * frame_bytes]
            assert drain(ring, frames) == expected
            model = model[len(expected) :]
        assert ring.available == len(model) // frame_bytes
        assert ring.free == capacity - ring.available
        assert ring.stored - ring.consumed == ring.available


def test_a_block_that_fills_it_exactly_is_taken_and_read_back():
    ring = SampleRing(4, 2)
    assert ring.write(b"aabbccdd")
    assert not ring.write(b"ee")
    assert drain(ring, 4) == b"aabbccdd"
    assert ring.write(b"eeffgghh")
    assert drain(ring, 9) == b"eeffgghh"


def test_two_threads_lose_and_double_nothing():
    ring = SampleRing(97, 4)
    total = 4_000
    received = bytearray()

    def produce() -> None:
        number = 0
        while number < total:
            count = min(total - number, 1 + number % 13)
            block = b"".join(
                value.to_bytes(4, "little") for value in range(number, number + count)
            )
            while not ring.write(block):
                pass
            number += count

    producer = threading.Thread(target=produce)
    producer.start()
    while len(received) < 4 * total:
        received += drain(ring, 31)
    producer.join()
    assert memoryview(bytes(received)).cast("I").tolist() == list(range(total))


def test_it_refuses_half_frames_and_consuming_what_is_not_there():
    ring = SampleRing(4, 4)
    with pytest.raises(ValueError, match="not whole frames"):
        ring.write(b"abc")
    with pytest.raises(ValueError, match="0 are available"):
        ring.consume(1)
    with pytest.raises(ValueError, match="must be >= 1"):
        SampleRing(0, 2)
