"""Files in the temporary directory that the store does not know how to go on with.

A power cut, a kill or a full disk can leave a file at any point of its way: not
finished, finished but not stored, decided but not removed. Each is taken up again,
removed when it is certain that nothing is lost by it, or set aside with a reason.
"""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import itertools
import logging
import os
import time
import uuid
from typing import TYPE_CHECKING

from acoupi.audio.soundfiles import (
    PART_SUFFIX,
    SOUND_SUFFIXES,
    SoundFileError,
    read_info,
    read_recording,
    repair,
)
from acoupi.components.stores.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from acoupi import data
    from acoupi.components import types
    from acoupi.components.saving.setting_aside import SetAsideFolder

__all__ = ["StrayFiles", "one_at_a_time"]

MAX_FILES = 5000
"""Files looked at in one run."""

NAMESPACE = uuid.UUID("0d4c3a52-7b44-4c1b-9d67-40a2f1f3a9c5")
"""Makes the ids of recordings whose files carry none."""

_LOCK_PAUSE = 0.005
"""Seconds between two tries: a run that follows upon another leaves little between."""

HOLDS_NO_SOUND = "it holds no sound"


class StrayFiles:
    """Takes up files of the temporary directory that were left half-way.

    Parameters
    ----------
    directory
        The temporary directory; its sub-directories are left alone.
    store
        Knows the recordings.
    aside
        Where files go that are no whole recordings.
    logger
        For what was found.
    quiet
        Seconds for which a file that is not known must not have changed.
    """

    def __init__(
        self,
        directory: Path,
        store: types.Store,
        aside: SetAsideFolder,
        logger: logging.Logger,
        quiet: float = 10,
    ) -> None:
        self.directory = directory
        self.store = store
        self.aside = aside
        self.logger = logger
        self.quiet = quiet
        self._seen: dict[Path, tuple[tuple[int, int, int], float]] = {}

    def take_up(self) -> list[Path]:
        """Look at each file once; return those that the store knew before."""
        try:
            with os.scandir(self.directory) as entries:
                names = sorted(
                    entry.name
                    for entry in itertools.islice(entries, MAX_FILES)
                    if entry.is_file(follow_symlinks=False)
                )
        except FileNotFoundError:
            return []
        paths = [self.directory / name for name in names]
        known = {
            recording.path
            for recording, _ in self.store.get_recordings_by_path(paths)
            if recording.path is not None
        }
        unknown = [path for path in paths if path not in known]
        self._remember(unknown)
        for path in unknown:
            self._try_to_take_up(path)
        return [path for path in paths if path in known]

    def _try_to_take_up(self, path: Path) -> None:
        try:
            try:
                self._take_up(path)
            except (DatabaseError, OSError):
                raise
            except Exception as error:
                self.logger.exception("%r cannot be taken up", path)
                self._set_aside(path, f"{type(error).__name__}: {error}")
        except FileNotFoundError:
            return  # finished, moved or dropped meanwhile by its owner
        except OSError as error:
            self.logger.warning("%r cannot be taken up now: %s", path, error)

    def _take_up(self, path: Path) -> None:
        # what was just finished is about to be stored by the task that recorded it
        if not self._is_left_alone(path):
            return
        if path.name.endswith(PART_SUFFIX):
            self._repair(path)
        elif path.suffix.lower() not in SOUND_SUFFIXES:
            self._set_aside(path, "it is no sound file")
        else:
            self._take_up_sound(path)

    def _take_up_sound(self, path: Path) -> None:
        try:
            info = read_info(path)
        except SoundFileError as error:
            self._discard_or_set_aside(path, str(error))
            return
        if not info.complete:
            self._repair(path)
        elif info.metadata is not None and info.metadata.recording_id is not None:
            self._go_on(read_recording(path), path)
        else:
            self._adopt_nameless(path)

    def _repair(self, path: Path) -> None:
        outcome = repair(path)
        if not outcome.repaired:
            self._discard_or_set_aside(path, outcome.reason)
            return
        self.logger.warning("%s was repaired: %s", outcome.path, outcome.reason)
        self._take_up_sound(outcome.path)

    def _go_on(self, recording: data.Recording, path: Path) -> None:
        """Go on with a whole file whose recording is known by its id."""
        state = self.store.get_state(recording)
        if state is None:
            self.store.store_recording(recording)
            self.logger.warning("%s was not in the store: taken up", path)
            return
        ((stored, _),) = self.store.get_recordings([recording.id])
        if state == "deleted":
            self._remove(path, "was decided to be deleted")
        elif stored.path is None or not stored.path.exists():
            self.store.settle_recording(stored, path, "undecided", None)
            self.logger.warning("%s is there again: to be decided anew", path)
        elif stored.path.samefile(path):
            return
        elif state == "undecided":
            self._set_aside(path, f"a second file of the recording in {stored.path}")
        else:
            self._remove(path, f"is in {stored.path} already")

    def _adopt_nameless(self, path: Path) -> None:
        """Take up a whole file that does not say which recording it is."""
        earlier = self._find_by_origin(path)
        if earlier is not None:
            if earlier.path is not None and _is_copy(path, earlier.path):
                self._remove(path, f"is in {earlier.path} already")
            else:
                self._set_aside(path, "a recording with this name was decided before")
            return
        status = path.stat()
        name = f"{path.name}/{status.st_size}/{status.st_mtime_ns}"
        deployment = self.store.get_current_deployment()
        recording = read_recording(path, deployment).model_copy(
            update={"id": uuid.uuid5(NAMESPACE, name)}
        )
        self.store.store_recording(recording)
        self.logger.warning("%s was not in the store: taken up", path)

    def _find_by_origin(self, path: Path) -> data.Recording | None:
        find = getattr(self.store, "find_by_origin", None)
        found: data.Recording | None = find(path) if find is not None else None
        return found

    def _discard_or_set_aside(self, path: Path, reason: str) -> None:
        if path.stat().st_size == 0 or reason.endswith(HOLDS_NO_SOUND):
            self._remove(path, "holds no sound")
            self.store.add_loss("recordings", 1, "cut off before the first sample")
        else:
            self._set_aside(path, reason)

    def _set_aside(self, path: Path, reason: str) -> None:
        target = self.aside.put(path, reason)
        path.unlink(missing_ok=True)
        self.logger.warning("%s was set aside: %s", target, reason)

    def _remove(self, path: Path, reason: str) -> None:
        path.unlink(missing_ok=True)
        self.logger.info("%s was removed: it %s", path, reason)

    def _remember(self, paths: list[Path]) -> None:
        now = time.monotonic()
        seen = {}
        for path in paths:
            try:
                signature = _signature(path)
            except FileNotFoundError:
                continue
            before = self._seen.get(path)
            if before is not None and before[0] == signature:
                seen[path] = before
            else:
                seen[path] = (signature, now)
        self._seen = seen

    def _is_left_alone(self, path: Path) -> bool:
        """Tell whether nobody writes the file: unlocked, and unchanged for a while.

        Seen unchanged by this process, or not changed since long ago by its time.
        """
        if _is_locked(path):
            return False
        entry = self._seen.get(path)
        if entry is None or entry[0] != _signature(path):
            return False
        age = time.time() - entry[0][1] / 1e9
        return age >= self.quiet or time.monotonic() - entry[1] >= self.quiet


@contextlib.contextmanager
def one_at_a_time(directory: Path | None, patience: float = 0.0) -> Iterator[bool]:
    """Tell whether this is the only run on the directory, and hold it meanwhile.

    The lock is on the directory itself and ends with the process, however it ends.

    Parameters
    ----------
    directory
        Where files are worked on; None or none there: nobody else is.
    patience
        Seconds to wait until another run has ended.
    """
    if directory is None or not directory.exists():
        yield True
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        ends = time.monotonic() + patience
        while not (alone := _lock(descriptor)) and time.monotonic() < ends:
            time.sleep(_LOCK_PAUSE)
        yield alone
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(path: Path) -> bool:
    """Tell whether a recorder holds the file: it locks what it writes."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _signature(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def _is_copy(one: Path, other: Path) -> bool:
    return other.exists() and filecmp.cmp(one, other, shallow=False)
