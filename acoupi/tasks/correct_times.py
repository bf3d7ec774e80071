"""The clock correction task: dates what was recorded before the clock was set."""

from __future__ import annotations

import errno
import logging
import time
from typing import TYPE_CHECKING

from acoupi.audio.soundfiles import SoundFileError, read_info, replace_metadata
from acoupi.components.clock_correction import (
    TOLERANCE,
    correct_recording,
    read_clocks,
)
from acoupi.components.stores.boots import Boots
from acoupi.components.stores.sqlite import SqliteStore
from acoupi.tasks.strays import one_at_a_time

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from acoupi import data
    from acoupi.components import types
    from acoupi.components.clock_correction import ClockReading

__all__ = ["generate_clock_correction_task"]

NO_BOOT = "unknown"
"""What stands for the boot where the kernel names none: many boots in one."""

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE}
"""The disk's fault, not the file's: the same is tried again at the next run."""


def generate_clock_correction_task(
    store: types.Store,
    logger: logging.Logger | None = None,
    clock: Callable[[], ClockReading] = read_clocks,
    tmp_path: Path | None = None,
    batch_size: int = 50,
    max_seconds: float = 20,
    patience: float = 30,
) -> Callable[[], None]:
    """Build the task that corrects times once the clock is set.

    Once the clock is known to be right, the boot's beginning is stored. Recordings of
    that boot that were made before get their true time: first the metadata in the
    file, then the store, which is thereby the list of what is to be done. Each step
    gives the same when it is repeated, and as the beginning is stored, the next run
    goes on wherever a power cut ended this one, in another boot too.

    Names of files stay, and so do messages that were built already.

    Parameters
    ----------
    store
        A `SqliteStore`; with any other the task does nothing.
    logger
        For what the task has to say.
    clock
        Reads both clocks.
    tmp_path
        Where recordings wait. The keeping task does not work there meanwhile:
        otherwise a file could be copied while it is corrected.
    batch_size
        Recordings stored in one transaction.
    max_seconds
        Seconds after which a run begins no other batch.
    patience
        Seconds to wait for the keeping task, which on a busy sensor hardly ever rests;
        then it is left to the next run.

    Returns
    -------
    callable
        Takes and returns nothing.
    """
    logger = logger or logging.getLogger(__name__)
    corrector = _Corrector(store, logger) if isinstance(store, SqliteStore) else None

    def clock_correction_task() -> None:
        """Correct the times of recordings made before the clock was set."""
        if corrector is None:
            return
        corrector.note(clock())
        if not corrector.boots.get_unfinished():
            return
        with one_at_a_time(tmp_path, patience) as alone:
            if alone:
                corrector.correct_all(batch_size, max_seconds)

    return clock_correction_task


class _DiskTrouble(Exception):  # noqa: N818  ends a run, is no error of the program
    """The disk refuses; going on with other recordings makes no sense."""


class _Corrector:
    def __init__(self, store: SqliteStore, logger: logging.Logger) -> None:
        self.boots = Boots(store.database)
        self.logger = logger

    def note(self, reading: ClockReading) -> None:
        """Store when this boot began, when that is known and not known already."""
        boot_id = reading.state.boot_id
        if not reading.state.synchronised or boot_id == NO_BOOT:
            return
        known = self.boots.get_beginning(boot_id)
        # Unless it was set again, the first word stays: a step that is repeated after
        # a power cut then gives the same time.
        if known is None or abs(reading.began_on - known) > TOLERANCE:
            self.boots.note_beginning(boot_id, reading.began_on)

    def correct_all(self, batch_size: int, max_seconds: float) -> None:
        """Correct what can be corrected, batch after batch, until the time is up."""
        ends = time.monotonic() + max_seconds
        count = 0
        try:
            for boot_id, began_on in self.boots.get_unfinished().items():
                last = 0
                while time.monotonic() < ends:
                    batch = self.boots.get_uncorrected(boot_id, last, batch_size)
                    if not batch:
                        break
                    last = max(batch)
                    count += self._correct_batch(batch.values(), began_on)
        except _DiskTrouble as error:
            self.logger.warning("%s; tried again later", error)
        if count:
            self.logger.info("%d recordings got the time of the clock now set", count)

    def _correct_batch(
        self, batch: Iterable[data.Recording], began_on: datetime.datetime
    ) -> int:
        done: list[data.Recording] = []
        try:
            for recording in batch:
                try:
                    corrected = correct_recording(recording, began_on)
                except OverflowError as error:
                    self.logger.warning("%s has no time: %s", recording.id, error)
                    continue
                self._correct_file(corrected)
                done.append(corrected)
        finally:
            self.boots.store_corrected(done)
        return len(done)

    def _correct_file(self, recording: data.Recording) -> None:
        path = recording.path
        if path is None:
            return
        try:
            _write_time(path, recording)
        except FileNotFoundError:
            return
        except (OSError, SoundFileError) as error:
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                raise _DiskTrouble(f"{path} cannot be corrected: {error}") from error
            # The store is what results are made of: it is not to wait for the file.
            self.logger.warning(
                "%s: the time in the file stays wrong, the store has the right one: %s",
                path,
                error,
            )


def _write_time(path: Path, recording: data.Recording) -> None:
    metadata = read_info(path).metadata
    if metadata is None or metadata.recording_id != recording.id:
        raise SoundFileError("it does not say that it is this recording's")
    before = dict(metadata)
    metadata.correct_time(recording)
    if dict(metadata) != before:
        replace_metadata(path, metadata)
