"""Which frames of an endless stream belong to which recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Cut", "Segmenter"]


@dataclass(frozen=True, slots=True)
class Cut:
    """A run of consecutive frames of one recording."""

    slot: int
    """Number of the frame at which the recording is planned to begin."""
    start: int
    """Number of the first frame of the run."""
    stop: int
    """Number of the frame after the last one."""
    lost: bool
    """Whether these frames were lost instead of captured."""
    closes: bool
    """Whether the recording ends with this run."""


class Segmenter:
    """Cuts a stream into recordings at exact frame numbers.

    Frames are numbered from the opening of the stream on, lost ones included, so that
    a frame's number tells its time. A recording of ``duration`` frames begins every
    ``interval`` frames; when the two are equal, recordings are contiguous: each frame
    is in exactly one of them. Whether a recording is wanted is asked once, when the
    stream reaches its first frame.

    Parameters
    ----------
    duration
        Frames of a recording, at least 1.
    interval
        Frames from the beginning of a recording to that of the next one. Less than
        ``duration`` means ``duration``: recordings never overlap.
    wanted
        Given the number of a recording's first frame, tells whether to record it.

    Raises
    ------
    ValueError
        When ``duration`` is below 1.
    """

    def __init__(
        self, duration: int, interval: int, wanted: Callable[[int], bool]
    ) -> None:
        if duration < 1:
            raise ValueError(f"a recording of {duration} frames: must be at least 1")
        self.duration = duration
        self.interval = max(interval, duration)
        self.position = 0
        self._wanted = wanted
        self._asked: int | None = None
        self._answer = False

    def advance(self, frames: int, *, lost: bool = False) -> Iterator[Cut]:
        """Yield the runs of wanted frames among the next ``frames`` of the stream.

        Parameters
        ----------
        frames
            How many frames follow.
        lost
            Whether they were lost instead of captured.
        """
        end = self.position + frames
        while self.position < end:
            slot = self.position - self.position % self.interval
            stop_of_recording = slot + self.duration
            if self.position >= stop_of_recording:
                self.position = min(end, slot + self.interval)
                continue
            start = self.position
            stop = min(end, stop_of_recording)
            self.position = stop
            if self._is_wanted(slot):
                yield Cut(
                    slot, start, stop, lost=lost, closes=stop == stop_of_recording
                )

    def _is_wanted(self, slot: int) -> bool:
        if self._asked != slot:
            self._asked = slot
            self._answer = self._wanted(slot)
        return self._answer
