"""The recorder: one open stream, contiguous recordings, every loss known."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from acoupi import data
from acoupi.audio.capture import Capture
from acoupi.audio.take import RING_SECONDS, Take
from acoupi.audio.wallclock import WallClock
from acoupi.components.recorders.interruption import Interruption
from acoupi.components.recorders.leftovers import repair_leftovers
from acoupi.components.recorders.losses import Loss, LossAccount
from acoupi.components.recorders.pending import PendingFiles
from acoupi.components.recorders.status import StatusReport, as_text
from acoupi.components.recorders.writing import TakeWriter
from acoupi.components.types import ContinuousRecorder
from acoupi.errors import AcoupiError, ConfigurationError

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from acoupi.audio.sources import Source
    from acoupi.components.recorders.configuration import MicrophoneConfig
    from acoupi.components.types import RecordingCondition

__all__ = ["MicrophoneRecorder"]

logger = logging.getLogger(__name__)

MOST_FINISHED = 10_000
"""Finished recordings kept in memory; files beyond are adopted by the keeping task."""
MAX_RECORDING_BYTES = 2**32 - 2**20
"""Most bytes of sound in a recording: what a WAV file holds, less its metadata."""
MAX_PENDING_BYTES = 2 * 2**30
"""Most bytes of undecided sound files, unless told otherwise."""


class MicrophoneRecorder(ContinuousRecorder):
    """Records from one open stream, cut into files at exact sample numbers.

    Making one opens nothing. `start` opens the source and begins to write recordings;
    `harvest` hands over those that are finished, whenever it is called: being late
    delays them and loses nothing.

    Parameters
    ----------
    microphone
        What to record from.
    duration
        Seconds of a recording, above 0.
    interval
        Seconds from the beginning of a recording to that of the next; not more than
        ``duration`` means contiguous recordings. None means ``duration``.
    chunksize
        Frames that the driver hands over at a time; raised when too small for the
        rate.
    dirpath
        Directory for finished recordings; made when missing.
    status_file
        JSON file that tells other processes what the recorder is doing.
    max_pending_bytes
        Most bytes of recordings in ``dirpath``: beyond it the oldest are deleted and
        counted (`take_losses`). None means as many as the file system holds. The
        same is done when the file system is nearly full.
    ring_seconds
        How long writing may stall before samples are lost.
    source
        Used instead of what ``microphone`` describes.

    Raises
    ------
    ValueError
        When ``duration`` is not above 0.
    ConfigurationError
        When a recording would not fit into a WAV file (4 GiB).
    """

    def __init__(
        self,
        microphone: MicrophoneConfig,
        duration: float,
        interval: float | None = None,
        chunksize: int = 8192,
        *,
        dirpath: Path,
        status_file: Path | None = None,
        max_pending_bytes: int | None = MAX_PENDING_BYTES,
        ring_seconds: float = RING_SECONDS,
        source: Source | None = None,
    ) -> None:
        if not duration > 0:
            raise ValueError(f"duration is {duration} s: must be above 0")
        size = duration * microphone.samplerate * microphone.audio_channels
        size *= microphone.bit_depth / 8
        if size > MAX_RECORDING_BYTES:
            raise ConfigurationError(
                f"recording.duration: {duration:g} s at {microphone.samplerate} Hz "
                f"make {size / 2**30:.1f} GiB, and a WAV file holds less than 4: "
                f"at most {duration * MAX_RECORDING_BYTES / size:.0f} s are possible"
            )
        self.microphone = microphone
        self.duration = duration
        self.interval = duration if interval is None else max(interval, duration)
        self.dirpath = dirpath
        self.source = source or microphone.build_source(chunksize)
        self.capture = Capture(self.source, ring_seconds=ring_seconds)
        self.pending = PendingFiles(dirpath, max_pending_bytes)
        self.samples_lost = 0
        """Frames that were wanted and lost, in recordings and between them."""
        self.recordings_made = 0
        self.recordings_dropped = 0
        self._finished: deque[data.Recording] = deque(maxlen=MOST_FINISHED)
        self._new = threading.Condition()
        self._losses = LossAccount()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._started_here = False
        self._wall = WallClock()
        self._get_deployment: Callable[[], data.Deployment] | None = None
        self._deployment: data.Deployment | None = None
        self._deployment_trouble: str | None = None
        self._conditions: Sequence[RecordingCondition] = ()
        self._waiting_on_purpose = False
        self._interruption: Interruption | None = None
        self._last_recording_on: datetime.datetime | None = None
        self._report = StatusReport(self.capture, status_file)
        self._idle = False
        self._last_turn = time.monotonic()

    def start(
        self,
        get_deployment: Callable[[], data.Deployment],
        conditions: Sequence[RecordingCondition] = (),
    ) -> None:
        """Open the source and record whenever every condition holds; returns at once.

        Raises
        ------
        OSError
            When ``dirpath`` cannot be made.
        """
        if self._thread is not None:
            return
        self.dirpath.mkdir(parents=True, exist_ok=True)
        self._get_deployment = get_deployment
        self._conditions = conditions
        self._stopping.clear()
        # Before our own status takes the place of the former recorder's.
        self._interruption = Interruption.read(self._report.path, self.duration)
        self._report.since = data.utc_now()
        self._last_turn = time.monotonic()
        self.capture.start()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the source; what was recorded until now ends as a shorter recording."""
        if self._thread is None:
            return
        self.capture.stop()
        self._stopping.set()
        self._thread.join(60)
        self._thread = None

    def record(self, deployment: data.Deployment) -> data.Recording | None:
        """Return the next recording, oldest first.

        When `start` was not called, this starts recording for ``deployment``, stays
        started, and waits for the recording's end; otherwise it returns None when no
        recording is finished.
        """
        if self._thread is None:
            self._started_here = True
            self.start(lambda: deployment)
        elif self._started_here:
            self._get_deployment = lambda: deployment
        patience = self.interval + self.duration + 15 if self._started_here else 0
        deadline = time.monotonic() + patience
        with self._new:
            while not self._finished:
                left = deadline - time.monotonic()
                if left <= 0 or (self.capture.ended and self._idle):
                    break
                self._new.wait(min(left, 0.5))
        return self._pop()

    def _pop(self) -> data.Recording | None:
        with self._new:
            return self._finished.popleft() if self._finished else None

    def harvest(self) -> Iterator[data.Recording]:
        """Yield each finished recording that was not harvested before.

        One whose taker fails, and so does not ask for the next, is kept for next time.
        """
        while (recording := self._pop()) is not None:
            taken = False
            try:
                yield recording
                taken = True
            finally:
                if not taken:
                    with self._new:
                        self._finished.appendleft(recording)

    def take_losses(self) -> list[Loss]:
        """Return what was lost since the last call, outside of recordings too.

        Frames lost inside a recording are in its ``capture`` as well.
        """
        return self._losses.take()

    def take_back(self, loss: Loss) -> None:
        """Keep a loss that could not be accounted for, for the next `take_losses`."""
        self._losses.take_back(loss)

    def check(self) -> None:
        """Raise an error that names the remedy when recording cannot work."""
        try:
            self.dirpath.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise AcoupiError(
                f"paths.tmp_audio: {self.dirpath} cannot be made: "
                f"{error.strerror}; choose another directory or mend its rights"
            ) from None
        if self._thread is None:
            self.source.check()

    @property
    def healthy(self) -> bool:
        """Whether capture makes progress, or is waiting on purpose.

        False when only a new process helps: a driver that does not come back, a
        thread that died or hangs.
        """
        if self._thread is None:
            return True
        writing = time.monotonic() - self._last_turn < 120
        return self._thread.is_alive() and writing and self.capture.alive

    def _run(self) -> None:
        self._repair()
        writer: TakeWriter | None = None
        while True:
            stopping = self._stopping.is_set()
            try:
                writer, worked = self._turn(writer)
            except Exception:
                # A bug or a broken component must not end recording for good.
                logger.exception("writing recordings failed; the next take is tried")
                worked, writer = False, self._skip(writer)
            if not worked:
                if stopping and self.capture.take is None:
                    break
                self._stopping.wait(0.1)
                if stopping:
                    time.sleep(0.05)
        if writer is not None:
            writer.finish()
        self._report.tell(writer, self._counts(), now=True)

    def _repair(self) -> None:
        try:
            repaired = repair_leftovers(self.dirpath)
            if self._interruption is not None:
                self._interruption.reach(repaired)
        except Exception:
            logger.exception("torn recordings of a former run cannot be repaired")

    def _turn(self, writer: TakeWriter | None) -> tuple[TakeWriter | None, bool]:
        """Write what has arrived; return the writer to go on with."""
        self._last_turn = time.monotonic()
        take = self.capture.take
        if writer is not None and take is not writer.take:
            writer.finish()
            writer = None
        if take is not None and writer is None:
            writer = self._make_writer(take)
        worked = writer is not None and writer.advance()
        self._idle = writer is None
        self._report.tell(writer, self._counts())
        return writer, worked

    def _skip(self, writer: TakeWriter | None) -> TakeWriter | None:
        """Give up the recording in which something unforeseen went wrong."""
        if writer is None:
            self._stopping.wait(1.0)
            return None
        run = writer.take.next_run(writer.take.ring.capacity)
        if run is not None:
            writer.take.finish_run(run)
            self._lose(run.frames, "because of an unforeseen fault")
        return self._make_writer(writer.take)

    def _make_writer(self, take: Take) -> TakeWriter:
        return TakeWriter(
            take,
            duration=self.duration,
            interval=self.interval,
            directory=self.dirpath,
            time_expansion=self.microphone.time_expansion,
            get_deployment=self._find_deployment,
            wanted=self._is_wanted,
            finished=self._finish,
            lost=self._lose,
            wall=self._wall,
        )

    def _find_deployment(self) -> data.Deployment:
        """Ask for the deployment; keep the last one when the store does not answer."""
        try:
            if self._get_deployment is not None:
                deployment = self._get_deployment()
                if deployment != self._deployment:
                    for condition in self._conditions:
                        condition.use_deployment(deployment)
                self._deployment = deployment
            self._deployment_trouble = None
        except Exception as error:
            # Asked for each recording: the same answer fills no log.
            if str(error) != self._deployment_trouble:
                self._deployment_trouble = str(error)
                logger.exception("the current deployment cannot be read")
        if self._deployment is None:
            self._deployment = data.Deployment(name="unknown")
        return self._deployment

    def _is_wanted(self, time_of_start: datetime.datetime) -> bool:
        if not self._conditions:
            return True
        self._find_deployment()
        wanted = True
        for condition in self._conditions:
            try:
                wanted = wanted and condition.should_record(time_of_start)
            except Exception:
                # Rather too much sound than none.
                logger.exception("a recording condition failed; it counts as met")
        self._waiting_on_purpose = not wanted
        if not wanted:
            # Nobody knows since when.
            self._interruption = None
        return wanted

    def _finish(self, recording: data.Recording) -> None:
        self._last_recording_on = recording.created_on
        if self._interruption is not None:
            pause = self.interval - self.duration
            if frames := self._interruption.lost_until(recording, pause):
                self._lose(frames, "while the recorder's process was away")
            self._interruption = None
        if recording.capture is not None and recording.capture.samples_lost:
            self._lose(recording.capture.samples_lost, "within recordings")
        path = recording.path
        self._make_room(0 if path is None else path.stat().st_size)
        with self._new:
            self._finished.append(recording)
            self.recordings_made += 1
            self._new.notify_all()

    def _make_room(self, coming: int) -> None:
        dropped = set(self.pending.make_room(coming))
        if not dropped:
            return
        with self._new:
            kept = [one for one in self._finished if one.path not in dropped]
            self._finished.clear()
            self._finished.extend(kept)
        self.recordings_dropped += len(dropped)
        reason = (
            f"{self.dirpath} was full: the oldest undecided recordings were deleted"
        )
        self._losses.add(Loss("recordings", len(dropped), reason))

    def _lose(self, frames: int, reason: str) -> None:
        self.samples_lost += frames
        self._losses.add(Loss("samples", frames, reason))

    def _counts(self) -> dict[str, object]:
        return {
            "recordings": self.recordings_made,
            "recordings_dropped": self.recordings_dropped,
            "recordings_waiting": len(self._finished),
            "samples_lost": self.samples_lost,
            "last_recording_on": as_text(self._last_recording_on),
            "waiting_on_purpose": self._waiting_on_purpose or self.capture.ended,
        }
