"""The frames between one opening of a source and its closing, lost ones included."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoupi.audio.anchor import BlockMark, NominalClock, StreamClock
from acoupi.audio.ring import SampleRing

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from acoupi.audio.sources import SourceStream

__all__ = ["RING_SECONDS", "Run", "Take"]

RING_SECONDS = 20.0
"""How long the consumer may pause, for instance for a slow disk."""
RING_BYTES = 32 * 2**20
"""Largest ring, whatever the format."""


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive frames of a take."""

    frame: int
    """Number of the first one; frames are numbered from the take's beginning on, lost
    ones included."""
    frames: int
    samples: memoryview | None
    """Valid until the next run is asked for; None when the frames were lost."""
    exact: bool = True
    """Whether the number of lost frames was counted rather than told by the clock."""


@dataclass(frozen=True, slots=True)
class _Gap:
    position: int
    lost: int
    exact: bool


class Take:
    """The frames between one opening of a source and its closing.

    One producer calls `deliver`; one consumer calls `next_run`, then `finish_run`.

    Parameters
    ----------
    stream
        The opened source.
    ring_seconds
        How long the consumer may pause before frames are lost.
    """

    def __init__(
        self, stream: SourceStream, *, ring_seconds: float = RING_SECONDS
    ) -> None:
        self.format = stream.format
        self.identity = stream.identity
        frame_size = stream.format.frame_size
        capacity = round(ring_seconds * stream.format.samplerate)
        capacity = max(1024, min(capacity, RING_BYTES // frame_size))
        self.ring = SampleRing(capacity, frame_size)
        self.clock: StreamClock | NominalClock
        if stream.clock_tolerance is None:
            self.clock = NominalClock(stream.format.samplerate)
        else:
            self.clock = StreamClock(
                stream.format.samplerate, tolerance=stream.clock_tolerance
            )
        self.opened_on = time.monotonic()
        self.last_arrival: float | None = None
        """`time.monotonic()` of the latest block."""
        self.longest_delivery = 0.0
        """Longest time a block took, in seconds, of the driver's thread."""
        self.closed = False
        """Whether nothing more will be delivered."""
        self._marks: deque[BlockMark] = deque()
        self._dropped = 0
        self._overflow = False
        self._gaps: deque[_Gap] = deque()
        self._next_frame = 0
        self._frame = 0
        self._finished = False

    @property
    def free(self) -> int:
        """Frames that fit now."""
        return self.ring.free

    def deliver(
        self,
        block: Buffer,
        frames: int,
        now: float,
        delay: float | None,
        overflow: bool,
    ) -> None:
        """Store a block; count it as lost when the ring is full. Never waits."""
        position = self.ring.stored
        if self.ring.write(block):
            flag = overflow or self._overflow
            self._marks.append(
                BlockMark(position, frames, self._dropped, now, delay, flag)
            )
            self._dropped = 0
            self._overflow = False
        else:
            self._dropped += frames
            self._overflow |= overflow
        self.last_arrival = now
        self.longest_delivery = max(self.longest_delivery, time.monotonic() - now)

    @property
    def drained(self) -> bool:
        """Whether the take is closed and everything in it was read."""
        return (
            self._finished and not self._gaps and self.ring.consumed == self.ring.stored
        )

    def next_run(self, most: int) -> Run | None:
        """Return up to ``most`` of the next frames, or a run of lost ones.

        None when nothing is certain yet: frames are held back as long as a loss
        before them is being looked into.
        """
        self._absorb()
        if self.ring.free < self.ring.capacity // 4:
            self.clock.release()
        position = self.ring.consumed
        if self._gaps and self._gaps[0].position == position:
            gap = self._gaps[0]
            return Run(self._frame, gap.lost, None, gap.exact)
        if self._finished:
            limit = self.ring.stored
        else:
            limit = position + max(0, self.clock.settled - self._frame)
        if self._gaps:
            limit = min(limit, self._gaps[0].position)
        samples = self.ring.peek(min(most, limit - position))
        if not samples:
            return None
        return Run(self._frame, len(samples) // self.format.frame_size, samples)

    def finish_run(self, run: Run, frames: int | None = None) -> None:
        """Give back a run, or only its first ``frames`` frames."""
        count = run.frames if frames is None else frames
        self._frame += count
        if run.samples is not None:
            self.ring.consume(count)
            return
        gap = self._gaps.popleft()
        if count < gap.lost:
            self._gaps.appendleft(_Gap(gap.position, gap.lost - count, gap.exact))

    def time_of(self, frame: int) -> float:
        """Return the `time.monotonic()` at which a frame was taken, in seconds."""
        if not self.clock.started:
            return self.opened_on + frame / self.format.samplerate
        return self.clock.time_of(frame)

    def _absorb(self) -> None:
        # Read before the marks: what arrives later belongs to the next call.
        closed = self.closed
        while self._marks:
            mark = self._marks.popleft()
            if mark.dropped:
                self._add_gap(mark.position, mark.dropped, exact=True)
                self._next_frame += mark.dropped
            found = self.clock.feed(self._next_frame, mark)
            self._next_frame += mark.frames
            self._add_found(found)
        if closed and not self._finished:
            self._add_found(self.clock.conclude())
            if self._dropped:
                self._add_gap(self.ring.stored, self._dropped, exact=True)
            self._finished = True

    def _add_found(self, found: tuple[int, int] | None) -> None:
        if found is not None:
            at, lost = found
            self._add_gap(self._position_of(at), lost, exact=False)
            self._next_frame += lost

    def _add_gap(self, position: int, lost: int, *, exact: bool) -> None:
        if self._gaps and self._gaps[-1].position > position:
            later = self._gaps.pop()
            self._add_gap(position, lost, exact=exact)
            self._gaps.append(later)
        else:
            self._gaps.append(_Gap(position, lost, exact))

    def _position_of(self, frame: int) -> int:
        position, number = self.ring.consumed, self._frame
        for gap in self._gaps:
            if number + gap.position - position >= frame:
                break
            number += gap.position - position + gap.lost
            position = gap.position
        return position + max(0, frame - number)
