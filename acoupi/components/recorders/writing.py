"""The frames of a take become sound files, cut at exact frame numbers."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from acoupi import data
from acoupi.audio.guano import Guano
from acoupi.audio.segmenter import Cut, Segmenter
from acoupi.audio.wallclock import WallClock, clock_is_synchronised, read_boot_id
from acoupi.audio.wavwriter import WavWriter
from acoupi.components.recorders.quality import LevelMeter
from acoupi.errors import AcoupiError

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable
    from pathlib import Path

    from acoupi.audio.take import Run, Take

__all__ = ["TakeWriter"]

logger = logging.getLogger(__name__)

RUN_SECONDS = 0.25
"""Longest piece written at a time."""
TURN_SECONDS = 0.5
"""Longest time spent on writing before the caller gets to look around."""
NOT_WRITTEN = "could not be written to the disk"
MOST_GAPS = 1000
"""Gaps told apart within one recording; further ones are added to the last."""


class TakeWriter:
    """Writes the recordings of one take.

    Parameters
    ----------
    take
        Where frames come from.
    duration, interval
        Seconds of a recording, and from one beginning to the next.
    directory
        Where files are written.
    time_expansion
        Factor by which the sound is slowed down already.
    get_deployment
        Called at the beginning of each recording.
    wanted
        Given the time of its first frame, tells whether a recording is wanted.
    finished
        Called with each recording whose file is complete.
    lost
        Called with a number of frames and the reason, for frames that were wanted and
        are in no recording's account.
    wall
        Tells wall-clock times.
    """

    def __init__(
        self,
        take: Take,
        *,
        duration: float,
        interval: float,
        directory: Path,
        time_expansion: float,
        get_deployment: Callable[[], data.Deployment],
        wanted: Callable[[datetime.datetime], bool],
        finished: Callable[[data.Recording], None],
        lost: Callable[[int, str], None],
        wall: WallClock,
    ) -> None:
        self.take = take
        self.directory = directory
        self.time_expansion = time_expansion
        rate = take.format.samplerate
        self.segmenter = Segmenter(
            max(1, round(duration * rate)),
            round(interval * rate),
            lambda frame: wanted(self._date(frame)),
        )
        self.meter = LevelMeter(take.format)
        """Levels since it was last cleared, whether recorded or not."""
        self._get_deployment = get_deployment
        self._finished = finished
        self._lost = lost
        self._wall = wall
        self._open: _OpenRecording | None = None
        self._most = max(1, round(RUN_SECONDS * rate))

    def advance(self) -> bool:
        """Write what is certain by now; tell whether there was anything.

        Comes back after half a second even when there is more: a source that is not
        paced by a clock refills the ring as fast as it is emptied.
        """
        worked = False
        until = time.monotonic() + TURN_SECONDS
        while (run := self.take.next_run(self._most)) is not None:
            self._write_run(run)
            self.take.finish_run(run)
            worked = True
            if time.monotonic() >= until:
                break
        return worked

    def finish(self) -> None:
        """End the recording that is being written, if any, as a shorter one."""
        if self._open is not None:
            self._complete()

    @property
    def recording(self) -> bool:
        """Whether a recording is being written."""
        return self._open is not None

    def _write_run(self, run: Run) -> None:
        samples = run.samples
        if samples is not None:
            self.meter.add(samples)
        size = self.take.format.frame_size
        for cut in self.segmenter.advance(run.frames, lost=samples is None):
            if samples is None:
                self._note_lost(cut)
            else:
                begin, end = cut.start - run.frame, cut.stop - run.frame
                self._write(cut, samples[begin * size : end * size])
            if cut.closes and self._open is not None:
                self._complete()

    def _write(self, cut: Cut, samples: memoryview) -> None:
        current = self._open
        if current is None:
            current = self._open = self._begin(cut.slot)
        if current.first is None:
            current.first = cut.start
        if current.writer is None and not current.failed:
            self._open_file(current)
        if current.writer is not None:
            current.meter.add(samples)
            try:
                current.writer.write(samples)
            except (OSError, AcoupiError) as error:
                self._give_up(current, error)
        if current.writer is None:
            self._lost(cut.stop - cut.start, NOT_WRITTEN)

    def _note_lost(self, cut: Cut) -> None:
        current = self._open
        if current is None:
            current = self._open = self._begin(cut.slot)
        count = cut.stop - cut.start
        if current.failed:
            self._lost(count, NOT_WRITTEN)
            return
        at = current.writer.frames if current.writer is not None else 0
        if current.gaps and (
            current.gaps[-1].at == at or len(current.gaps) >= MOST_GAPS
        ):
            last = current.gaps.pop()
            at, count = last.at, count + last.lost
        current.gaps.append(data.SampleGap(at=at, lost=count))

    def _begin(self, slot: int) -> _OpenRecording:
        return _OpenRecording(slot, LevelMeter(self.take.format))

    def _open_file(self, current: _OpenRecording) -> None:
        first = current.first or 0
        monotonic = self.take.time_of(first)
        created_on = self._wall.at(monotonic)
        planned = current.slot + self.segmenter.duration - first
        sound = self.take.format
        identifier = uuid4()
        stamp = created_on.strftime("%Y%m%dT%H%M%S") + (
            f"{created_on.microsecond // 1000:03d}Z"
        )
        path = self.directory / f"{stamp}_{identifier.hex[:8]}.wav"
        current.recording = data.Recording(
            id=identifier,
            created_on=created_on,
            duration=planned / sound.samplerate,
            samplerate=sound.samplerate,
            audio_channels=sound.channels,
            time_expansion=self.time_expansion,
            deployment=self._get_deployment(),
            path=path,
            capture=data.CaptureReport(
                device=self.take.identity,
                first_frame=first,
                gaps=tuple(current.gaps),
                clock=data.ClockState(
                    synchronised=clock_is_synchronised(),
                    boot_id=read_boot_id(),
                    monotonic=monotonic,
                ),
            ),
        )
        try:
            current.writer = WavWriter(
                path, sound, planned, Guano.for_recording(current.recording)
            )
        except (OSError, AcoupiError) as error:
            self._give_up(current, error)

    def _give_up(self, current: _OpenRecording, error: Exception) -> None:
        """End a recording that cannot be written on; keep what of it was written."""
        logger.error("%s cannot be written: %s", self.directory, error)
        current.failed = True
        if not self._publish(current):
            self._abandon(current)
        current.writer = None

    def _complete(self) -> None:
        current, self._open = self._open, None
        if current is None or current.failed:
            return
        if current.writer is None:
            missing = sum(gap.lost for gap in current.gaps)
            self._lost(missing, "with nothing recorded around them")
        elif not self._publish(current):
            self._abandon(current)

    def _publish(self, current: _OpenRecording) -> bool:
        """Complete a recording's file with what is in it; False when that fails."""
        writer, recording = current.writer, current.recording
        if writer is None or recording is None or writer.frames < 1:
            return False
        report = recording.capture
        recording = recording.model_copy(
            update={
                "duration": writer.frames / recording.samplerate,
                "capture": report
                and report.model_copy(
                    update={
                        "gaps": tuple(current.gaps),
                        "peak_dbfs": current.meter.peak_dbfs,
                        "level_dbfs": current.meter.level_dbfs,
                        "clipped": current.meter.clipped,
                    }
                ),
            }
        )
        try:
            writer.finish(Guano.for_recording(recording))
        except (OSError, AcoupiError) as error:
            logger.warning("%s cannot be completed: %s", writer.part, error)
            return False
        self._finished(recording)
        return True

    def _abandon(self, current: _OpenRecording) -> None:
        """Delete a recording's file and count all of it as lost."""
        missing = sum(gap.lost for gap in current.gaps)
        if current.writer is not None:
            missing += current.writer.frames
            try:
                current.writer.abandon()
            except OSError as error:
                logger.warning("%s cannot be deleted: %s", current.writer.part, error)
        if missing:
            self._lost(missing, NOT_WRITTEN)

    def _date(self, frame: int) -> datetime.datetime:
        return self._wall.at(self.take.time_of(frame))


class _OpenRecording:
    """A recording while it is being written."""

    def __init__(self, slot: int, meter: LevelMeter) -> None:
        self.slot = slot
        self.meter = meter
        self.gaps: list[data.SampleGap] = []
        self.first: int | None = None
        self.recording: data.Recording | None = None
        self.writer: WavWriter | None = None
        self.failed = False
