"""What becomes of each recording: kept, deleted or set aside, or still waiting."""

from __future__ import annotations

import contextlib
import datetime
import errno
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from acoupi.audio.durability import fsync_directory
from acoupi.components.saving.managers import PlaceError
from acoupi.components.stores.errors import DatabaseError
from acoupi.components.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from uuid import UUID

    from acoupi import data
    from acoupi.components import types
    from acoupi.components.recorders.pending import PendingFiles
    from acoupi.components.saving.setting_aside import SetAsideFolder

__all__ = ["Keeper"]

FULL_SHARE = 0.5
"""Share of what may wait at most, beyond which recordings do not wait for models."""

TOO_LATE = "not analysed within"

CROWDED_OUT = "kept without analysis, as too many recordings were waiting for it"

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE}
"""The disk's fault, not the recording's: the same is tried again at the next run."""


class _DiskTrouble(Exception):  # noqa: N818  ends a run, is no error of the program
    """The disk refuses; going on with other recordings makes no sense."""


class Keeper:
    """Decides on recordings; for the parameters see `generate_file_management_task`."""

    def __init__(
        self,
        store: types.Store,
        managers: Sequence[types.RecordingSavingManager],
        filters: Sequence[types.RecordingSavingFilter],
        required_models: Sequence[str],
        aside: SetAsideFolder,
        logger: logging.Logger,
        overdue: datetime.timedelta | None,
        waiting_room: PendingFiles | None,
    ) -> None:
        self.store = store
        self.managers = managers
        self.filters = filters
        self.required_models = required_models
        self.aside = aside
        self.logger = logger
        self.overdue = overdue
        self.waiting_room = waiting_room
        self._excess = 0
        self._waiting_since: dict[UUID, float] = {}
        self._failures: dict[UUID, str] = {}
        self._absent: set[UUID] = set()
        self._deployment: UUID | None = None

    def decide_all(self, known_files: list[Path]) -> None:
        """Decide what can be decided, oldest first, until the disk refuses."""
        decidable = self._find_decidable(known_files)
        waiting = self._find_waiting()
        self._forget_all_but(
            {recording.id for recording, _ in decidable}
            | {recording.id for recording in waiting}
        )
        try:
            for recording, outputs in decidable:
                self._attempt(recording, partial(self._decide, recording, outputs))
            if self.waiting_room is not None:
                self._excess = self.waiting_room.excess(FULL_SHARE)
            for recording in waiting:
                self._look_after(recording)
        except _DiskTrouble as error:
            self.logger.warning("%s; tried again later", error)

    def _forget_all_but(self, known: set[UUID]) -> None:
        self._absent &= known
        for memory in (self._waiting_since, self._failures):
            for key in memory.keys() - known:
                del memory[key]

    def _attempt(self, recording: data.Recording, act: Callable[[], None]) -> None:
        """Act on a recording; set it aside when that fails a second time."""
        try:
            act()
        except DatabaseError:
            raise  # nothing can be decided now
        except Exception as error:
            _end_if_disk_refuses(recording, error)
            self.logger.exception("%s cannot be decided", recording.path)
            reason = f"{type(error).__name__}: {error}"
            if recording.id not in self._failures:
                self._failures[recording.id] = reason
                return
            try:
                self._set_aside(recording, reason)
            except OSError as refusal:
                _end_if_disk_refuses(recording, refusal)
                self.logger.exception("%s cannot be set aside", recording.path)

    def _decide(
        self, recording: data.Recording, outputs: list[data.ModelOutput]
    ) -> None:
        if not self._is_there(recording):
            return
        failed = self.store.get_failures(recording)
        failed = {k: v for k, v in failed.items() if k in self.required_models}
        if failed and all(map(_is_want_of_time, failed.values())):
            self._keep_unanalysed(recording, next(iter(failed.values())))
        elif failed:
            reason = "; ".join(f"{name} {why}" for name, why in failed.items())
            self._set_aside(recording, reason)
        elif self._is_wanted(recording, outputs):
            if not self._keep(recording, outputs, None):
                self._delete(recording, "no manager took it")
        else:
            self._delete(recording, "no filter wanted it")

    def _is_there(self, recording: data.Recording) -> bool:
        if recording.path is not None and recording.path.exists():
            return True
        # its row may just have been written by another process: look again
        if recording.path is not None and recording.id not in self._absent:
            self._absent.add(recording.id)
            return False
        self.logger.warning("%s is gone", recording.path)
        self.store.settle_recording(recording, None, "missing", "its file is gone")
        return False

    def _is_wanted(
        self, recording: data.Recording, outputs: list[data.ModelOutput]
    ) -> bool:
        if not self.filters:
            return True
        self._use_deployment(recording.deployment)
        for condition in self.filters:
            try:
                if condition.should_save_recording(recording, outputs):
                    return True
            except Exception:
                # better a recording too many than one lost to a mistake
                self.logger.exception("%s failed", type(condition).__name__)
                return True
        return False

    def _use_deployment(self, deployment: data.Deployment) -> None:
        if deployment.id == self._deployment:
            return
        for condition in self.filters:
            condition.use_deployment(deployment)
        self._deployment = deployment.id

    def _keep(
        self,
        recording: data.Recording,
        outputs: list[data.ModelOutput],
        reason: str | None,
    ) -> bool:
        for manager in self.managers:
            path = manager.save_recording(recording, outputs)
            if path is None:
                continue
            # managers of others may not have flushed it
            _flush(path)
            self._settle(recording, path, "kept", reason)
            self.logger.debug("kept %s", path)
            return True
        return False

    def _delete(self, recording: data.Recording, reason: str) -> None:
        self._settle(recording, None, "deleted", reason)
        self.logger.debug("deleted %s: %s", recording.path, reason)

    def _set_aside(self, recording: data.Recording, reason: str) -> None:
        if not self._is_there(recording) or recording.path is None:
            return
        path = self.aside.put(recording.path, reason)
        self._settle(recording, path, "set_aside", reason)
        self.logger.warning("%s was set aside: %s", path, reason)

    def _settle(
        self,
        recording: data.Recording,
        path: Path | None,
        outcome: types.RecordingState,
        reason: str | None,
    ) -> None:
        """Store the outcome, then remove the original."""
        original = recording.path
        self.store.settle_recording(recording, path, outcome, reason)
        if original is None or (path is not None and _is_same(original, path)):
            return
        original.unlink(missing_ok=True)

    def _find_decidable(
        self, known_files: list[Path]
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        if isinstance(self.store, SqliteStore):
            return self.store.get_decidable(self.required_models)
        # other stores need not know what is undecided: what still waits there is
        return [
            (recording, outputs)
            for recording, outputs in self.store.get_recordings_by_path(known_files)
            if not self.store.get_unfinished_models(recording, self.required_models)
        ]

    def _find_waiting(self) -> list[data.Recording]:
        if not self.required_models:
            return []
        return self.store.pending(self.required_models, limit=1000)

    def _look_after(self, recording: data.Recording) -> None:
        """See to a recording that a model has yet to look at."""
        if not self._is_there(recording) or recording.path is None:
            return
        now = time.monotonic()
        since = self._waiting_since.setdefault(recording.id, now)
        if self._excess > 0 and not self._is_under_way(recording):
            reason = CROWDED_OUT
            # The recorder may drop it at this very moment.
            with contextlib.suppress(FileNotFoundError):
                self._excess -= recording.path.stat().st_size
        elif self.overdue is not None and now - since >= self.overdue.total_seconds():
            reason = f"{TOO_LATE} {self.overdue}"
        else:
            return
        self._attempt(recording, partial(self._end_waiting, recording, reason))

    def _end_waiting(self, recording: data.Recording, reason: str) -> None:
        """Give a recording up for the models that have not begun with it, and keep it.

        One transaction: a model that begins later finds it done, and one that is at
        work is left to it. The loss is counted even if the power goes now.
        """
        with self.store.transaction():
            if self._is_under_way(recording):
                return
            names = self.store.get_unfinished_models(recording, self.required_models)
            for name in names:
                self.store.note_failure(recording, name, reason)
                self.store.add_loss("analyses", 1, f"{name}: {reason}")
        if names:
            self._keep_unanalysed(recording, reason)

    def _is_under_way(self, recording: data.Recording) -> bool:
        return any(
            self.store.is_under_way(recording, name) for name in self.required_models
        )

    def _keep_unanalysed(self, recording: data.Recording, reason: str) -> None:
        if not self._keep(recording, [], reason):
            self._set_aside(recording, reason)


def _is_want_of_time(reason: str) -> bool:
    return reason == CROWDED_OUT or reason.startswith(TOO_LATE)


def _end_if_disk_refuses(recording: data.Recording, error: Exception) -> None:
    refused = isinstance(error, PlaceError) or (
        isinstance(error, OSError) and error.errno in _DISK_ERRORS
    )
    if refused:
        raise _DiskTrouble(f"{recording.path} cannot be moved: {error}") from error


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fsync_directory(path.parent)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False
