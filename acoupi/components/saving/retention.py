"""Which kept recordings are deleted again, so that there is room for new ones."""

from __future__ import annotations

import datetime
import itertools
import logging
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from acoupi import data
from acoupi.audio.wallclock import clock_is_synchronised, read_boot_id
from acoupi.components.clock_correction import is_uncorrected
from acoupi.components.stores.kept import KeptRecordings
from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from acoupi.components.stores.sqlite import SqliteStore

__all__ = ["Retention"]

logger = logging.getLogger(__name__)

MARGIN = 1.1
"""More room is made than is needed, so that it is not made for each recording."""

REMEMBER = 3600.0
"""Seconds for which the best recordings of each tag are remembered: finding them
among a million detections takes seconds, and new ones are not the oldest."""


class Retention:
    """Deletes kept recordings by age, and the oldest ones when space is short.

    Parameters
    ----------
    dirpath
        Where recordings are kept: the disk whose free space counts.
    min_free_bytes
        Free space to have; 0 to delete nothing for space.
    max_age
        How old recordings may become; None for any age. Applied only while the
        system clock is known to be right, so that a clock that is ahead deletes
        nothing.
    min_per_tag
        How many recordings of each tag are never deleted, the best scores first.
    max_deletions
        How many are deleted in one go at most.
    clock_is_right
        Tells whether the system clock is known to be right.

    Raises
    ------
    ConfigurationError
        When a bound is negative.
    """

    def __init__(
        self,
        dirpath: Path,
        min_free_bytes: int = 0,
        max_age: datetime.timedelta | None = None,
        min_per_tag: int = 0,
        max_deletions: int = 500,
        clock_is_right: Callable[[], bool] = clock_is_synchronised,
    ) -> None:
        if min_free_bytes < 0 or min_per_tag < 0:
            raise ConfigurationError(
                f"min_free_bytes is {min_free_bytes} and min_per_tag {min_per_tag}: "
                "neither may be negative"
            )
        self.dirpath = Path(dirpath)
        self.min_free_bytes = min_free_bytes
        self.max_age = max_age
        self.min_per_tag = min_per_tag
        self.max_deletions = max_deletions
        self.clock_is_right = clock_is_right
        self._protected: set[UUID] = set()
        self._protected_until = -math.inf

    def apply(self, store: SqliteStore, now: datetime.datetime | None = None) -> int:
        """Delete what is to go, and return how many recordings went.

        Files go first, then the store is told: after a power cut in between, the
        next call finishes the work.
        """
        deleted = 0
        for recording, reason in self.choose(store, now or data.utc_now()):
            if recording.path is not None:
                recording.path.unlink(missing_ok=True)
            store.settle_recording(recording, None, "deleted", reason)
            deleted += 1
        if deleted:
            logger.info("%d kept recordings were deleted to make room", deleted)
        return deleted

    def choose(
        self, store: SqliteStore, now: datetime.datetime
    ) -> Iterator[tuple[data.Recording, str]]:
        """Yield the recordings to delete, oldest first, each with the reason."""
        if not self.dirpath.is_dir():
            # Nothing was kept yet, or the disk with what was kept is not there: it
            # would be forgotten, and no room made.
            return
        missing = self._missing_bytes()
        too_old = None
        if self.max_age is not None and self.clock_is_right():
            too_old = now - self.max_age
        if missing <= 0 and too_old is None:
            return
        kept = KeptRecordings(store.database).oldest_first()
        chosen = 0
        for recording in itertools.islice(kept, 20 * self.max_deletions):
            looks_old = too_old is not None and recording.created_on < too_old
            if chosen >= self.max_deletions or not (looks_old or missing > 0):
                return
            outdated = looks_old and not _awaits_its_time(recording)
            if not (outdated or missing > 0):
                continue
            if recording.id in self._find_protected(store):
                continue
            chosen += 1
            if recording.path is not None and recording.path.exists():
                missing -= recording.path.stat().st_size
            days = self.max_age.days if self.max_age else 0
            yield (
                recording,
                f"older than {days} days" if outdated else "the disk was nearly full",
            )
        if missing > 0 and chosen == 0:
            logger.warning(
                "%s is short of space and nothing may be deleted: take recordings "
                "away, or lower retention.min_per_tag",
                self.dirpath,
            )

    def _find_protected(self, store: SqliteStore) -> set[UUID]:
        now = time.monotonic()
        if self.min_per_tag and now >= self._protected_until:
            kept = KeptRecordings(store.database)
            self._protected = kept.best_of_each_tag(self.min_per_tag)
            self._protected_until = now + REMEMBER
        return self._protected

    def _missing_bytes(self) -> float:
        if not self.min_free_bytes:
            return 0
        space = os.statvfs(self.dirpath)
        free = space.f_bavail * space.f_frsize
        if free >= self.min_free_bytes:
            return 0
        return self.min_free_bytes * MARGIN - free


def _awaits_its_time(recording: data.Recording) -> bool:
    """Tell whether the recording looks old by a clock that was set since."""
    clock = recording.capture.clock if recording.capture is not None else None
    return (
        clock is not None
        and is_uncorrected(recording)
        and clock.boot_id == read_boot_id()
    )
