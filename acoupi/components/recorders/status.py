"""What the recorder is doing, told to other processes by a small file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from typing import TYPE_CHECKING

from acoupi.audio.wallclock import read_boot_id
from acoupi.data import utc_now

if TYPE_CHECKING:
    import datetime
    from collections.abc import Mapping
    from pathlib import Path

    from acoupi.audio.capture import Capture
    from acoupi.components.recorders.writing import TakeWriter

__all__ = ["StatusReport", "as_text", "write_status"]

logger = logging.getLogger(__name__)

STATUS_INTERVAL = 2.0
"""Seconds between two writings of the status file."""
RETRY_INTERVAL = 20.0
"""Seconds until it is tried again when the file could not be written."""
LEVEL_INTERVAL = 10.0
"""Seconds over which levels and problems of the microphone are judged."""

REMINDER_INTERVAL = 3600.0
"""Seconds after which a problem that lasts is logged again."""


class StatusReport:
    """Judges the microphone and tells what the recorder is doing.

    Parameters
    ----------
    capture
        What is reported on.
    path
        The status file; None to write none.
    """

    def __init__(self, capture: Capture, path: Path | None) -> None:
        self.capture = capture
        self.path = path
        self.since: datetime.datetime | None = None
        """When recording was started."""
        self.problems: list[str] = []
        """What seems wrong with the microphone, for people."""
        self._told: dict[str, float] = {}
        self._level: float | None = None
        self._peak: float | None = None
        self._level_due = time.monotonic() + LEVEL_INTERVAL / 2
        self._status_due = 0.0
        self._stream: dict[str, object] = {
            "device": None,
            "samplerate": None,
            "channels": None,
            "frames": 0,
            "overflows": 0,
            "clock_skew_ppm": None,
            "longest_callback_ms": None,
        }

    def tell(
        self,
        writer: TakeWriter | None,
        counts: Mapping[str, object],
        *,
        now: bool = False,
    ) -> None:
        """Judge the microphone and write the status file, when it is time to.

        Parameters
        ----------
        writer
            Of the take that is being written, if any.
        counts
            What the recorder adds to the status.
        now
            Whether to write it whatever the time.
        """
        clock = time.monotonic()
        if writer is not None and clock >= self._level_due:
            self._level_due = clock + LEVEL_INTERVAL
            self._judge(writer, clock)
        if self.path is not None and (now or clock >= self._status_due):
            told = write_status(self.path, {**self._describe(writer, clock), **counts})
            # Each failure is logged: rarely, as long as the disk refuses.
            self._status_due = clock + (STATUS_INTERVAL if told else RETRY_INTERVAL)

    def _judge(self, writer: TakeWriter, clock: float) -> None:
        self._level = writer.meter.level_dbfs
        self._peak = writer.meter.peak_dbfs
        problems = writer.meter.problems()
        for problem in problems:
            kind = problem.rpartition(": ")[0]
            last = self._told.get(kind, -REMINDER_INTERVAL)
            if clock - last >= REMINDER_INTERVAL:
                self._told[kind] = clock
                logger.warning("microphone %s: %s", writer.take.identity, problem)
        self.problems = problems
        writer.meter.clear()

    def _describe(self, writer: TakeWriter | None, clock: float) -> dict[str, object]:
        take = None if writer is None else writer.take
        if take is not None:
            self._stream = {
                "device": take.identity,
                "samplerate": take.format.samplerate,
                "channels": take.format.channels,
                "frames": take.ring.stored,
                "overflows": take.clock.overflows,
                "clock_skew_ppm": round(take.clock.skew * 1e6, 1),
                "longest_callback_ms": round(take.longest_delivery * 1000, 3),
            }
        failure = self.capture.failure
        return {
            "recording": writer is not None and writer.recording,
            "capturing": take is not None and not take.closed,
            "ended": self.capture.ended,
            "since": as_text(self.since),
            **self._stream,
            "reopen_count": max(0, self.capture.openings - 1),
            "seconds_away": round(self.capture.seconds_away(), 3),
            "level_dbfs": self._level,
            "peak_dbfs": self._peak,
            "problems": [failure, *self.problems] if failure else self.problems,
            "pid": os.getpid(),
            "boot_id": read_boot_id(),
            "updated_monotonic": clock,
            "updated_on": as_text(utc_now()),
        }


def as_text(moment: datetime.datetime | None) -> str | None:
    """Return a time as ISO 8601 text."""
    return None if moment is None else moment.isoformat()


def write_status(path: Path, status: Mapping[str, object]) -> bool:
    """Write a status file, over the former one.

    Not flushed to the disk: it describes a running process and means nothing after a
    power cut. A new file beside it would have the disk note a name and free places at
    each turn, and write three times as much. A failure is logged, since recording
    matters more.

    Returns
    -------
    bool
        Whether it was written.
    """
    content = (json.dumps(status, indent=1) + "\n").encode()
    try:
        try:
            _overwrite(path, content)
        except OSError:
            _replace(path, content)
    except OSError as error:
        logger.warning("the recorder's status cannot be written: %s", error)
        return False
    return True


def _replace(path: Path, content: bytes) -> None:
    """Make the file, or make it anew where it is another user's."""
    temporary = path.with_name(f".{path.name}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _overwrite(path: Path, content: bytes) -> None:
    with path.open("r+b", buffering=0) as file:
        # In one go, and padded rather than cut: a reader meanwhile finds JSON.
        file.write(content.ljust(os.fstat(file.fileno()).st_size))
