"""The keeping task: each recording ends kept, deleted or set aside with a reason."""

from __future__ import annotations

import contextlib
import datetime
import errno
import logging
import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from acoupi.audio.durability import fsync_directory
from acoupi.components.saving.setting_aside import SetAsideFolder
from acoupi.components.stores.errors import DatabaseError
from acoupi.components.stores.sqlite import SqliteStore
from acoupi.tasks.strays import StrayFiles, one_at_a_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from acoupi import data
    from acoupi.components import types
    from acoupi.components.recorders.pending import PendingFiles
    from acoupi.components.saving.retention import Retention

__all__ = ["generate_file_management_task"]

OVERDUE = datetime.timedelta(days=1)

FULL_SHARE = 0.5
"""Share of what may wait at most, beyond which recordings do not wait for models."""

TOO_LATE = "not analysed within"

CROWDED_OUT = "kept without analysis, as too many recordings were waiting for it"

_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE}
"""The disk's fault, not the recording's: the same is tried again at the next run."""


def generate_file_management_task(
    store: types.Store,
    file_managers: Sequence[types.RecordingSavingManager],
    file_filters: Sequence[types.RecordingSavingFilter] = (),
    required_models: Sequence[str] = (),
    tmp_path: Path | None = None,
    logger: logging.Logger | None = None,
    set_aside_path: Path | None = None,
    retention: Retention | None = None,
    overdue: datetime.timedelta | None = OVERDUE,
    quiet: float = 10,
    waiting_room: PendingFiles | None = None,
) -> Callable[[], None]:
    """Build the task that decides what becomes of recordings.

    A recording is decided once every required model has looked at it or was given
    up. It is kept when one of the filters wants it (or there is none) and a manager
    takes it; else it is deleted. Set aside, with the reason beside it, are: what a
    model was given up on, what a manager fails on twice, and files in the temporary
    directory that are no whole recordings.

    A move is: copy, fsync, rename, store the new path, delete the original. Each step
    can be repeated, and the next run goes on wherever a power cut ended this one.

    Parameters
    ----------
    store
        Knows the recordings.
    file_managers
        Asked one after the other; the first that returns a path has taken it.
    file_filters
        ORed; none keeps everything.
    required_models
        Names of the models that must have looked at a recording.
    tmp_path
        Where recordings wait; files there that the store does not know are taken up.
    logger
        For what the task has to say.
    set_aside_path
        Folder for what is set aside; by default ``set_aside`` in the first manager's
        directory, else beside ``tmp_path``.
    retention
        Makes room at the end of each run.
    overdue
        How long a recording may wait for its models, counted while this process
        runs. Then it is kept without them. None for ever.
    quiet
        Seconds for which an unknown file must not have changed before it is touched.
    waiting_room
        The recorder's bound on what waits. When given, the oldest recordings that wait
        for a model are kept without it, and counted, while more than half of the bound
        is taken. Without, they wait until the recorder deletes them at the bound.

    Returns
    -------
    callable
        Takes and returns nothing.
    """
    keeper = _Keeper(
        store,
        file_managers,
        file_filters,
        required_models,
        SetAsideFolder(set_aside_path or _set_aside_path(file_managers, tmp_path)),
        logger or logging.getLogger(__name__),
        overdue,
        waiting_room,
    )
    strays = (
        StrayFiles(tmp_path, store, keeper.aside, keeper.logger, quiet)
        if tmp_path is not None
        else None
    )

    def file_management_task() -> None:
        """Keep, compress or delete the recordings that can be decided on."""
        with one_at_a_time(tmp_path) as alone:
            if not alone:
                return
            try:
                known = strays.take_up() if strays is not None else []
                keeper.decide_all(known)
            finally:
                # above all when a full disk is why nothing could be decided
                if retention is not None and isinstance(store, SqliteStore):
                    retention.apply(store)

    return file_management_task


def _set_aside_path(
    managers: Sequence[types.RecordingSavingManager], tmp_path: Path | None
) -> Path:
    for manager in managers:
        dirpath = getattr(manager, "dirpath", None)
        if dirpath is not None:
            return Path(dirpath) / "set_aside"
    if tmp_path is not None:
        return tmp_path.with_name(f"{tmp_path.name}_set_aside")
    return Path("set_aside")


class _DiskTrouble(Exception):  # noqa: N818  ends a run, is no error of the program
    """The disk refuses; going on with other recordings makes no sense."""


class _Keeper:
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
            self.logger.info("kept %s", path)
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
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
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
