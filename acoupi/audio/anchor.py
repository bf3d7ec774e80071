"""When each sample was taken, and how many are missing, told by the clocks.

Two facts are used. A frame cannot arrive before it was sounded, so that the earliest
arrivals tell when frames were taken, free of delays of the machine (a minimum filter,
as in network time protocols, RFC 5905 section 10). And a stream that lost frames is
behind the clock by exactly their duration, for ever.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

__all__ = [
    "BlockMark",
    "NominalClock",
    "StreamClock",
]

WINDOW = 2.0
"""Seconds over which the earliest arrival is taken: twice the longest burst."""
SETTLE = 3.0
"""Seconds a stream must stay behind the clock before frames count as lost."""
TOLERANCE = 0.01
"""Seconds a stream may be behind the clock before that is looked into."""
FITTED_WINDOWS = 64
"""Windows through which the line is drawn that tells the device's clock error."""
TRUSTED_WINDOWS = 8
"""Windows below which a slope would say more about chance than about the device."""
MAX_SKEW = 1e-3
"""Largest believable deviation of a device's sample rate from its nominal one."""
MAX_SLEW = 5e-4
"""Largest deviation from the even course of time by which dates are corrected."""


@dataclass(frozen=True, slots=True)
class BlockMark:
    """What the audio callback notes of a block."""

    position: int
    """Position of the block's first frame in the ring."""
    frames: int
    """Frames in the block."""
    dropped: int
    """Frames refused by the full ring just before the block: lost, exactly."""
    now: float
    """`time.monotonic()` when the block arrived."""
    delay: float | None
    """Seconds between the taking of the block's first frame and ``now``, as far as
    the driver knows."""
    overflow: bool
    """Whether the driver said that frames before this block were lost."""


@dataclass(slots=True)
class _Suspicion:
    frame: int
    since: float
    behind: float
    marks: int
    flagged: bool


class StreamClock:
    """Follows the arrival of frames: dates each frame and finds losses.

    A stream is judged to have lost frames when it stays behind the clock by more than
    the tolerance, both by the time its blocks arrive and by the time its driver says
    they were taken: delays of the machine show in the first only, and changes of a
    buffer in the second only. The number of lost frames is as good as the clocks: a few
    frames with plain hardware, more behind a sound server.

    Parameters
    ----------
    samplerate
        Nominal frames per second.
    tolerance
        Seconds it may be behind without a driver's overflow flag. Losses that no
        flag announces and that are smaller remain unknown.
    settle
        Seconds a stream must stay behind before frames count as lost.
    """

    def __init__(
        self, samplerate: int, *, tolerance: float = TOLERANCE, settle: float = SETTLE
    ) -> None:
        self.samplerate = samplerate
        self.tolerance = tolerance
        self.settle = settle
        self.overflows = 0
        """How often the driver said that frames were lost."""
        self.settled = 0
        """Frames before this number are judged: no loss will be found among them."""
        self._arrival = _Baseline(samplerate, tolerance)
        self._taking = _Baseline(samplerate, tolerance)
        self._date = Line(0, 0.0, 0.0)
        self._suspicion: _Suspicion | None = None
        self._dated = False
        self._end = 0
        self._flagged = False

    @property
    def skew(self) -> float:
        """Deviation of the device's clock from the system's: 1e-6 is 1 ppm slow."""
        return self._arrival.skew

    @property
    def started(self) -> bool:
        """Whether enough arrived to date frames."""
        return self._dated

    def time_of(self, frame: int) -> float:
        """Return the `time.monotonic()` at which a frame was taken, in seconds."""
        if not self._dated:
            raise ValueError("too few frames arrived: the stream cannot be dated yet")
        return self._date.at(frame, self.samplerate) + frame / self.samplerate

    def feed(self, frame: int, mark: BlockMark) -> tuple[int, int] | None:
        """Take note of a block that begins at ``frame``.

        Returns
        -------
        tuple of int, or None
            ``(at, lost)`` when it is now certain that ``lost`` frames are missing
            before frame ``at``, which is never before `settled`; the numbers of the
            frames from there on, this block's too, are to be raised by ``lost``.
        """
        end = self._end = frame + mark.frames
        arrival = mark.now - end / self.samplerate
        taking = None
        if mark.delay is not None:
            taking = mark.now - mark.delay - frame / self.samplerate
        if mark.overflow and frame > 0:
            self.overflows += 1
        if not self._dated:
            self._note(end, arrival, taking)
            return None
        behind = arrival - self._arrival.predict(end)
        if taking is not None and self._taking.known:
            behind = min(behind, taking - self._taking.predict(end))
        noise = max(self._arrival.noise, self._taking.noise)
        allowed = max(self.tolerance, 6 * noise)
        suspicion = self._suspicion
        if suspicion is None:
            flagged = mark.overflow or self._flagged
            if not flagged and behind <= allowed:
                self._note(end, arrival, taking)
                return None
            self.settled = frame
            self._flagged = False
            self._suspicion = _Suspicion(frame, mark.now, behind, 1, flagged)
            return None
        if behind <= allowed and not suspicion.flagged and not mark.overflow:
            self._suspicion = None
            self._note(end, arrival, taking)
            return None
        if behind < suspicion.behind - self.tolerance / 2:
            suspicion.since = mark.now  # it is catching up: wait where that ends
        suspicion.behind = min(suspicion.behind, behind)
        suspicion.marks += 1
        suspicion.flagged |= mark.overflow
        if suspicion.marks < 4 or mark.now - suspicion.since < self.settle:
            return None
        return self._declare(suspicion, end)

    def release(self) -> None:
        """Hold no frames back: the memory for them is running out.

        What is being looked into is looked into again from the next block on.
        """
        if self._suspicion is not None:
            self._flagged = self._suspicion.flagged
            self._suspicion = None
        self.settled = max(self.settled, self._end)

    def conclude(self) -> tuple[int, int] | None:
        """Judge at the end of the stream what is still being looked into.

        Returns what `feed` returns. Without more frames only what the driver itself
        announced counts as a loss.
        """
        suspicion = self._suspicion
        if suspicion is None or not suspicion.flagged:
            return None
        return self._declare(suspicion, suspicion.frame)

    def _declare(self, suspicion: _Suspicion, end: int) -> tuple[int, int]:
        lost = max(1, round(suspicion.behind * self.samplerate))
        self._suspicion = None
        self._arrival.restart(end + lost)
        self._taking.restart(end + lost)
        self.settled = self._end = end + lost
        return suspicion.frame, lost

    def _note(self, end: int, arrival: float, taking: float | None) -> None:
        changed = self._arrival.add(end, arrival)
        if taking is not None:
            self._taking.add(end, taking)
        if not self._dated and not changed:
            return
        self.settled = end
        if changed:
            self._follow(end)

    def _follow(self, end: int) -> None:
        """Bring the dating line to the baseline, too slowly for dates to jump."""
        goal = self._arrival.predict(end)
        if not self._dated:
            self._date = Line(end, goal, 0.0)
            self._dated = True
            return
        here = self._date.at(end, self.samplerate)
        correction = max(-MAX_SLEW, min(MAX_SLEW, (goal - here) / 10))
        self._date = Line(end, here, self._arrival.skew + correction)


@dataclass(frozen=True, slots=True)
class Line:
    """A time difference that changes evenly with the number of frames."""

    frame: int
    offset: float
    """Seconds, at that frame."""
    slope: float
    """Change, in seconds per second."""

    def at(self, frame: int, samplerate: int) -> float:
        """Return the value at a frame, in seconds."""
        return self.offset + self.slope * (frame - self.frame) / samplerate


class _Baseline:
    """The earliest arrivals of a stream, as an offset and a skew.

    A straight line through the minima of the latest windows (least squares).
    """

    def __init__(self, samplerate: int, tolerance: float) -> None:
        self.samplerate = samplerate
        self.tolerance = tolerance
        self.noise = 0.0
        self._line: Line | None = None
        self._minima: deque[tuple[int, float]] = deque(maxlen=FITTED_WINDOWS)
        self.restart(0)

    @property
    def known(self) -> bool:
        return self._line is not None

    @property
    def skew(self) -> float:
        return 0.0 if self._line is None else self._line.slope

    def predict(self, frame: int) -> float:
        return 0.0 if self._line is None else self._line.at(frame, self.samplerate)

    def restart(self, frame: int) -> None:
        """Forget the window that is not full yet."""
        self._start = frame
        self._minimum = math.inf
        self._marks = 0

    def add(self, frame: int, offset: float) -> bool:
        """Take note of an arrival; tell whether the baseline was adjusted."""
        self._minimum = min(self._minimum, offset)
        self._marks += 1
        if (frame - self._start) / self.samplerate < WINDOW or self._marks < 4:
            return False
        if self._line is not None:
            innovation = self._minimum - self.predict(frame)
            if innovation < -self.tolerance:
                # Frames came earlier than was thought possible: begin anew from there.
                self._minima.clear()
            else:
                self.noise += 0.1 * (abs(innovation) - self.noise)
        self._minima.append((frame, self._minimum))
        self._line = self._fit()
        self.restart(frame)
        return True

    def _fit(self) -> Line:
        count = len(self._minima)
        frame = sum(frame for frame, _ in self._minima) // count
        offset = sum(offset for _, offset in self._minima) / count
        if count < TRUSTED_WINDOWS:
            return Line(frame, offset, 0.0)
        times = [(at - frame) / self.samplerate for at, _ in self._minima]
        offsets = [value - offset for _, value in self._minima]
        spread = sum(time * time for time in times)
        slope = sum(t * o for t, o in zip(times, offsets, strict=True)) / spread
        rest = sum((o - slope * t) ** 2 for t, o in zip(times, offsets, strict=True))
        # As much of the slope as is beyond chance: twice its standard error.
        doubt = 2 * math.sqrt(rest / (count - 2) / spread)
        slope = math.copysign(min(MAX_SKEW, max(0.0, abs(slope) - doubt)), slope)
        return Line(frame, offset, slope)


class NominalClock:
    """Dates the frames of a stream that no clock of its own paces.

    Such a stream loses nothing: its frames follow each other at the nominal rate from
    the first one on.

    Parameters
    ----------
    samplerate
        Frames per second.
    """

    skew = 0.0
    overflows = 0

    def __init__(self, samplerate: int) -> None:
        self.samplerate = samplerate
        self.settled = 0
        self._start: float | None = None

    @property
    def started(self) -> bool:
        """Whether anything arrived."""
        return self._start is not None

    def time_of(self, frame: int) -> float:
        """Return the `time.monotonic()` at which a frame was taken, in seconds."""
        if self._start is None:
            raise ValueError("no frame arrived yet: the stream cannot be dated")
        return self._start + frame / self.samplerate

    def release(self) -> None:
        """Nothing is ever held back."""

    def conclude(self) -> None:
        """Nothing is ever in doubt."""

    def feed(self, frame: int, mark: BlockMark) -> None:
        """Take note of a block that begins at ``frame``."""
        if self._start is None:
            self._start = mark.now - (frame + mark.frames) / self.samplerate
        self.settled = frame + mark.frames
