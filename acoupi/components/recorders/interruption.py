"""Sound that nobody recorded, because the recorder's process was killed."""

from __future__ import annotations

import datetime
import json
import logging
import time
from typing import TYPE_CHECKING

from acoupi.audio.soundfiles import read_recording
from acoupi.audio.wallclock import read_boot_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from acoupi import data

__all__ = ["Interruption"]

logger = logging.getLogger(__name__)

TOLERANCE = 10.0
"""Seconds by which wall and monotonic clock may tell a different length."""


class Interruption:
    """The time from the last sound of a recorder that was killed to the next.

    Parameters
    ----------
    last_sound_on
        When the last sound that is known of ended.
    noted
        Monotonic time at which that recorder last gave a sign of itself.
    """

    def __init__(self, last_sound_on: datetime.datetime, noted: float) -> None:
        self.last_sound_on = last_sound_on
        self._noted = noted

    @classmethod
    def read(cls, status_file: Path | None, duration: float) -> Interruption | None:
        """Return what the former recorder's status file tells.

        Returns
        -------
        Interruption or None
            None when it ended in order, was not recording, or was of another boot.
        """
        if status_file is None:
            return None
        try:
            told = json.loads(status_file.read_text("utf-8"))
            if not told["recording"] or told["boot_id"] != read_boot_id():
                return None
            last = told["last_recording_on"] or told["since"]
            began = datetime.datetime.fromisoformat(last)
            length = duration if told["last_recording_on"] else 0.0
            return cls(
                began + datetime.timedelta(seconds=length),
                float(told["updated_monotonic"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def reach(self, files: Iterable[Path]) -> None:
        """Take sound that was found to be there into account."""
        for path in files:
            try:
                found = read_recording(path)
            except (OSError, ValueError) as error:
                logger.debug("%s does not say when it was recorded: %s", path, error)
                continue
            ended = found.created_on + datetime.timedelta(seconds=found.duration)
            self.last_sound_on = max(self.last_sound_on, ended)

    def lost_until(
        self,
        recording: data.Recording,
        pause: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> int:
        """Return how many frames are missing before a recording.

        Parameters
        ----------
        recording
            The first one since.
        pause
            Seconds between two recordings that are wanted to be missing.
        clock
            The monotonic clock, in seconds.
        """
        seconds = (recording.created_on - self.last_sound_on).total_seconds()
        # The recording is over, and sound takes its time to be told of.
        most = clock() - self._noted - recording.duration + TOLERANCE
        if not 0 <= seconds <= max(most, TOLERANCE):
            # The clock was set meanwhile: the monotonic one knows roughly.
            seconds = most - TOLERANCE
        return max(0, round((seconds - pause) * recording.samplerate))
