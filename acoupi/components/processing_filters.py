"""Filters that decide whether a recording is worth a model's time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acoupi.components.types import ProcessingFilter

if TYPE_CHECKING:
    from acoupi import data

__all__ = ["HasLength", "IsLoudEnough", "IsUninterrupted"]


class HasLength(ProcessingFilter):
    """Refuses recordings that are too short to say anything.

    Parameters
    ----------
    min_duration
        Seconds of sound.
    """

    def __init__(self, min_duration: float) -> None:
        self.min_duration = min_duration

    def should_process(self, recording: data.Recording) -> bool:
        """Tell whether the recording is long enough."""
        return recording.duration >= self.min_duration


class IsLoudEnough(ProcessingFilter):
    """Refuses recordings in which the microphone heard next to nothing.

    Recordings whose level is not known pass.

    Parameters
    ----------
    min_peak_dbfs
        Smallest peak, in dB relative to full scale (at most 0).
    """

    def __init__(self, min_peak_dbfs: float = -70) -> None:
        self.min_peak_dbfs = min_peak_dbfs

    def should_process(self, recording: data.Recording) -> bool:
        """Tell whether the recording's peak is high enough, or not known."""
        peak = recording.capture.peak_dbfs if recording.capture else None
        return peak is None or peak >= self.min_peak_dbfs


class IsUninterrupted(ProcessingFilter):
    """Refuses recordings in which too many samples are missing.

    Parameters
    ----------
    max_lost
        Share of the recording that may be missing, [0, 1).
    """

    def __init__(self, max_lost: float = 0) -> None:
        self.max_lost = max_lost

    def should_process(self, recording: data.Recording) -> bool:
        """Tell whether little enough of the recording is missing."""
        if recording.capture is None:
            return True
        frames = recording.duration * recording.samplerate
        return recording.capture.samples_lost <= self.max_lost * frames
