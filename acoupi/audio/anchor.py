"""When each sample was taken, and how many are missing, told by the clocks.

Two facts are used. A frame cannot arrive before it was sounded, so that the earliest
arrivals tell when frames were taken, free of delays of the machine (a minimum filter,
as in network time protocols, RFC 5905 section 10). And a stream that lost frames is
behind the clock by exactly their duration, for ever.
"""

from __future__ import annotations

import datetime
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BlockMark",
    "NominalClock",
    "StreamClock",
    "WallClock",
    "clock_is_synchronised",
    "read_boot_id",
]

WINDOW = 1.0
"""Seconds over which the earliest arrival is taken."""
SETTLE = 1.5
"""Seconds a stream must stay behind the clock before frames count as lost."""
TOLERANCE = 0.01
"""Seconds a stream may be behind the clock before that is looked into."""
MAX_SKEW = 2e-3
"""Largest believable deviation of a device's sample rate from its nominal one."""


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

    Parameters
    ----------
    samplerate
        Nominal frames per second.
    settle
        Seconds a stream must stay behind before frames count as lost.
    tolerance
        Seconds it may be behind without a driver's overflow flag. Losses that no
        flag announces and that are smaller remain unknown.
    """

    def __init__(
        self, samplerate: int, *, settle: float = SETTLE, tolerance: float = TOLERANCE
    ) -> None:
        self.samplerate = samplerate
        self.settle = settle
        self.tolerance = tolerance
        self.overflows = 0
        """How often the driver said that frames were lost."""
        self.settled = 0
        """Frames before this number are judged: no loss will be found among them."""
        self._offset: float | None = None
        self._skew = 0.0
        self._reference = 0
        self._noise = 0.001
        self._windows = 0
        self._window_start = 0
        self._window_minimum = math.inf
        self._window_marks = 0
        self._suspicion: _Suspicion | None = None

    @property
    def skew(self) -> float:
        """Deviation of the device's clock from the system's: 1e-6 is 1 ppm slow."""
        return self._skew

    @property
    def started(self) -> bool:
        """Whether enough arrived to date frames."""
        return self._offset is not None

    def time_of(self, frame: int) -> float:
        """Return the `time.monotonic()` at which a frame was taken, in seconds."""
        return self._predict(frame) + frame / self.samplerate

    def feed(self, frame: int, mark: BlockMark) -> tuple[int, int] | None:
        """Take note of a block that begins at ``frame``.

        Returns
        -------
        tuple of int, or None
            ``(at, lost)`` when it is now certain that ``lost`` frames are missing
            before frame ``at``, which is never before `settled`; the numbers of the
            frames from there on, this block's too, are to be raised by ``lost``.
        """
        delay = mark.delay
        if delay is None:
            delay = mark.frames / self.samplerate
        arrival = mark.now - delay - frame / self.samplerate
        if mark.overflow and self.started:
            self.overflows += 1
        if self._offset is None:
            self._begin(frame, mark, arrival)
            return None
        behind = arrival - self._predict(frame)
        allowed = max(self.tolerance, 6 * self._noise)
        suspicion = self._suspicion
        if suspicion is None:
            if mark.overflow or behind > allowed:
                self._suspicion = _Suspicion(frame, mark.now, behind, 1, mark.overflow)
                self.settled = frame
            else:
                self._note_arrival(frame, mark.frames, arrival)
                self.settled = frame + mark.frames
            return None
        suspicion.behind = min(suspicion.behind, behind)
        suspicion.marks += 1
        suspicion.flagged |= mark.overflow
        if behind <= allowed and not suspicion.flagged:
            self._suspicion = None
            self._note_arrival(frame, mark.frames, arrival)
            self.settled = frame + mark.frames
            return None
        if suspicion.marks < 4 or mark.now - suspicion.since < self.settle:
            return None
        lost = max(1, round(suspicion.behind * self.samplerate))
        self._suspicion = None
        self._restart_window(frame + lost)
        self.settled = frame + lost + mark.frames
        return suspicion.frame, lost

    def _predict(self, frame: int) -> float:
        if self._offset is None:
            raise ValueError("no frame arrived yet: the stream cannot be dated")
        return self._offset + self._skew * (frame - self._reference) / self.samplerate

    def _begin(self, frame: int, mark: BlockMark, arrival: float) -> None:
        self._window_minimum = min(self._window_minimum, arrival)
        self._window_marks += 1
        if (frame + mark.frames) / self.samplerate < WINDOW or self._window_marks < 4:
            return
        self._offset = self._window_minimum
        self._reference = frame
        self._restart_window(frame + mark.frames)
        self.settled = frame + mark.frames

    def _restart_window(self, frame: int) -> None:
        self._window_start = frame
        self._window_minimum = math.inf
        self._window_marks = 0

    def _note_arrival(self, frame: int, frames: int, arrival: float) -> None:
        """Correct offset and skew once a window, as an alpha-beta filter does."""
        self._window_minimum = min(self._window_minimum, arrival)
        self._window_marks += 1
        elapsed = (frame + frames - self._window_start) / self.samplerate
        if elapsed < WINDOW or self._window_marks < 4:
            return
        innovation = self._window_minimum - self._predict(frame)
        self._windows += 1
        alpha = max(1 / (self._windows + 1), 0.1)
        beta = alpha * alpha / 4
        offset = self._predict(frame) + alpha * innovation
        skew = self._skew + beta * innovation / elapsed
        self._skew = max(-MAX_SKEW, min(MAX_SKEW, skew))
        self._offset = offset
        self._reference = frame
        self._noise += 0.1 * (abs(innovation) - self._noise)
        self._restart_window(frame + frames)


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

    def feed(self, frame: int, mark: BlockMark) -> None:
        """Take note of a block that begins at ``frame``."""
        if self._start is None:
            self._start = mark.now - (frame + mark.frames) / self.samplerate
        self.settled = frame + mark.frames


class WallClock:
    """Turns monotonic times into wall-clock times that do not jitter.

    The difference between the two clocks is measured again at each question, and
    taken over only when it changed by more than ``slack`` seconds: that is, when the
    clock was set.
    """

    def __init__(
        self,
        *,
        slack: float = 0.002,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slack = slack
        self._wall = wall
        self._monotonic = monotonic
        self._difference: float | None = None

    def at(self, monotonic: float) -> datetime.datetime:
        """Return the wall-clock time, in UTC, of a monotonic time in seconds."""
        before = self._monotonic()
        wall = self._wall()
        after = self._monotonic()
        measured = wall - (before + after) / 2
        slack = self.slack + (after - before)
        if self._difference is None or abs(measured - self._difference) > slack:
            self._difference = measured
        return datetime.datetime.fromtimestamp(
            monotonic + self._difference, tz=datetime.UTC
        )


def read_boot_id() -> str:
    """Return the kernel's boot identifier, or ``"unknown"`` where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"


def clock_is_synchronised() -> bool:
    """Tell whether the kernel holds the system clock to be set and disciplined.

    Asks ``adjtimex(2)``, which every time daemon keeps informed; False where there is
    no such call.
    """
    import ctypes

    timex = ctypes.create_string_buffer(512)  # struct timex: 208 bytes, all zero: read
    try:
        state = int(ctypes.CDLL(None).adjtimex(timex))
    except (OSError, AttributeError):
        return False
    time_error = 5
    return 0 <= state < time_error
