"""One source held open for ever: its frames, their losses, its faults.

The driver's thread copies blocks into a ring and counts; nothing else happens there.
A guard thread opens the source and opens it again after any fault, for ever. The
frames of one opening are a `Take`, read by one consumer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoupi.audio.anchor import BlockMark, NominalClock, StreamClock
from acoupi.audio.ring import SampleRing

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from acoupi.audio.sources import Source, SourceStream

__all__ = ["Capture", "Run", "Take"]

logger = logging.getLogger(__name__)

RING_SECONDS = 20.0
"""How long the consumer may pause, for instance for a slow disk."""
RING_BYTES = 32 * 2**20
"""Largest ring, whatever the format."""
LONGEST_PAUSE = 30.0
"""Longest time between two attempts to open a source, in seconds."""


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
        if stream.clocked:
            self.clock = StreamClock(stream.format.samplerate)
        else:
            self.clock = NominalClock(stream.format.samplerate)
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
            if found is not None:
                at, lost = found
                self._add_gap(self._position_of(at), lost, exact=False)
                self._next_frame += lost
        if closed and not self._finished:
            if self._dropped:
                self._add_gap(self.ring.stored, self._dropped, exact=True)
            self._finished = True

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


class Capture:
    """Keeps a source open and hands over what it delivers.

    Parameters
    ----------
    source
        What to capture.
    ring_seconds
        How long the consumer may pause before frames are lost.
    patience
        Seconds without any frame after which the source is opened again: an unplugged
        microphone says nothing at all.
    """

    def __init__(
        self,
        source: Source,
        *,
        ring_seconds: float = RING_SECONDS,
        patience: float = 4.0,
    ) -> None:
        self.source = source
        self.ring_seconds = ring_seconds
        self.patience = patience
        self.openings = 0
        """How often the source was opened."""
        self.failure: str | None = None
        """Why the source is not open, or None when it is."""
        self.ended = False
        """Whether the source has come to its end for good."""
        self.stuck = False
        """Whether the driver does not come back: only a new process helps."""
        self.away = 0.0
        """Seconds without the source since it was first open."""
        self._takes: deque[Take] = deque()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_sign = time.monotonic()
        self._away_since: float | None = None

    def start(self) -> None:
        """Begin to capture; returns at once."""
        if self._thread is not None:
            return
        self._stopping.clear()
        self._thread = threading.Thread(target=self._guard, name="guard", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 15.0) -> None:
        """Close the source; what was captured can still be read."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)
            self._thread = None
        for take in self._takes:
            take.closed = True

    @property
    def take(self) -> Take | None:
        """The oldest take that is not drained, or None."""
        with self._lock:
            while self._takes and self._takes[0].drained:
                self._takes.popleft()
            return self._takes[0] if self._takes else None

    @property
    def alive(self) -> bool:
        """Whether the guard works: frames arrive or the source is being looked for."""
        if self._thread is None:
            return True
        since = time.monotonic() - self._last_sign
        return self._thread.is_alive() and not self.stuck and since < 60

    def seconds_away(self) -> float:
        """Return the seconds without the source since it was first open."""
        since = self._away_since
        return self.away + (0.0 if since is None else time.monotonic() - since)

    def _guard(self) -> None:
        pause = 1.0
        while not self._wait(0):
            try:
                stream = self.source.open()
            except Exception as error:  # noqa: BLE001  (no failure to open is final)
                self._report(f"{error}")
                self._wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            delivered = self._hold(stream)
            if self.source.exhausted and stream.ended and stream.failure is None:
                self.ended = True
                self.failure = None
                while not self._wait(1.0):
                    pass
                return
            if delivered:
                pause = 1.0
            elif not self._stopping.is_set():
                self._wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _hold(self, stream: SourceStream) -> bool:
        """Keep a stream open until it fails, ends or is not wanted any more."""
        take = Take(stream, ring_seconds=self.ring_seconds)
        reason = None
        try:
            stream.start(take)
            with self._lock:
                self._takes.append(take)
            self.openings += 1
            reason = self._watch(stream, take)
        except Exception as error:  # noqa: BLE001  (no failure to open is final)
            reason = f"{stream.identity}: {error}"
        if reason is not None:
            self._report(reason)
        self._close(stream)
        take.closed = True
        if take.last_arrival is not None:
            self._away_since = take.last_arrival
        # A second ring is made only when the first is read: memory stays bounded.
        while self.take is not None and not self._wait(0.1):
            pass
        return take.last_arrival is not None

    def _watch(self, stream: SourceStream, take: Take) -> str | None:
        while not self._wait(0.25):
            now = time.monotonic()
            if take.last_arrival is not None:
                if self._away_since is not None:
                    self.away += max(0.0, take.opened_on - self._away_since)
                    self._away_since = None
                if self.failure is not None:
                    logger.warning("%s: sound arrives again", take.identity)
                    self.failure = None
            if stream.ended:
                return stream.failure
            if now - (take.last_arrival or take.opened_on) > self.patience:
                return (
                    f"{take.identity}: no sound for {self.patience:g} s; is it "
                    "unplugged? It is looked for until it is back"
                )
        return None

    def _close(self, stream: SourceStream) -> None:
        """Close a stream in a thread of its own: drivers of lost devices can hang."""
        closing = threading.Thread(
            target=_close_quietly, args=(stream,), name="close", daemon=True
        )
        closing.start()
        closing.join(10)
        while closing.is_alive():
            if not self.stuck:
                self.stuck = True
                self._report(f"{stream.identity}: the audio driver does not answer")
            if self._wait(1.0):
                return
        self.stuck = False

    def _report(self, reason: str) -> None:
        if reason != self.failure:
            logger.warning("%s", reason)
            self.failure = reason

    def _wait(self, seconds: float) -> bool:
        self._last_sign = time.monotonic()
        return self._stopping.wait(seconds)


def _close_quietly(stream: SourceStream) -> None:
    try:
        stream.close()
    except Exception as error:  # noqa: BLE001  (it is being given up anyway)
        logger.warning("%s: closing it failed: %s", stream.identity, error)
