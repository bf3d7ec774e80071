"""True times of recordings that were made before the clock was set.

A recording carries the monotonic time of its first sample. The monotonic clock of a
boot is never set, so that one reading of both clocks, once the wall clock is right,
dates everything that boot recorded, however often the wall clock was wrong before.
The monotonic clock itself runs as true as the machine's crystal, some 20 ppm: about a
second after half a day without a time server.
"""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoupi import data
from acoupi.audio.wallclock import clock_is_synchronised, read_boot_id

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "TOLERANCE",
    "ClockReading",
    "correct_recording",
    "find_offset",
    "is_uncorrected",
    "read_clocks",
]

TOLERANCE = datetime.timedelta(seconds=0.1)
"""Differences up to this leave a time as it is: no clock was set, it was only read at
other moments, and recordings that touch each other go on doing so."""


@dataclass(frozen=True)
class ClockReading:
    """Both clocks at one moment."""

    now: datetime.datetime
    """What the wall clock says, in UTC."""
    state: data.ClockState
    """Whether that is known to be right, the boot, and the monotonic clock."""

    @property
    def began_on(self) -> datetime.datetime:
        """When the monotonic clock stood at zero, as the wall clock has it."""
        return self.now - datetime.timedelta(seconds=self.state.monotonic)


def read_clocks(
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> ClockReading:
    """Read both clocks at the same moment, and whether the wall clock is right."""
    synchronised = clock_is_synchronised()
    before = monotonic()
    now = wall()
    after = monotonic()
    return ClockReading(
        datetime.datetime.fromtimestamp(now, datetime.UTC),
        data.ClockState(
            # Set between the two readings, it would be read before and believed after.
            synchronised=synchronised and clock_is_synchronised(),
            boot_id=read_boot_id(),
            monotonic=(before + after) / 2,
        ),
    )


def is_uncorrected(recording: data.Recording) -> bool:
    """Tell whether a recording's time is that of a clock not known to be right."""
    clock = recording.capture.clock if recording.capture is not None else None
    return clock is not None and not clock.synchronised and not clock.corrected


def find_offset(
    recording: data.Recording, began_on: datetime.datetime
) -> datetime.timedelta:
    """Return what is to be added to a recording's time: true time minus its own.

    Parameters
    ----------
    recording
        One that knows its monotonic time.
    began_on
        When the monotonic clock of its boot stood at zero.

    Raises
    ------
    ValueError
        If the recording knows no monotonic time.
    OverflowError
        If its monotonic time makes no date.
    """
    clock = recording.capture.clock if recording.capture is not None else None
    if clock is None:
        raise ValueError(f"recording {recording.id} carries no state of the clock")
    true_time = began_on + datetime.timedelta(seconds=clock.monotonic)
    return true_time - recording.created_on


def correct_recording(
    recording: data.Recording,
    began_on: datetime.datetime,
    tolerance: datetime.timedelta = TOLERANCE,
) -> data.Recording:
    """Return the recording with its true time, marked as corrected.

    Parameters
    ----------
    recording
        One that knows its monotonic time. One that needs no correction comes back as
        it is.
    began_on
        When the monotonic clock of its boot stood at zero.
    tolerance
        A time that is off by no more than this stays; it is right and marked so.

    Raises
    ------
    OverflowError
        If its monotonic time makes no date.
    """
    if not is_uncorrected(recording):
        return recording
    capture = recording.capture
    assert capture is not None
    assert capture.clock is not None
    offset = find_offset(recording, began_on)
    created_on = recording.created_on
    if abs(offset) > tolerance:
        created_on += offset
    clock = capture.clock.model_copy(update={"corrected": True})
    return recording.model_copy(
        update={
            "created_on": created_on,
            "capture": capture.model_copy(update={"clock": clock}),
        }
    )
