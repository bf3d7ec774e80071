"""The keeping task: each recording ends kept, deleted or set aside with a reason."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from acoupi.components.saving.setting_aside import SetAsideFolder
from acoupi.components.stores.sqlite import SqliteStore
from acoupi.tasks.keeper import Keeper
from acoupi.tasks.strays import StrayFiles, one_at_a_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acoupi.components import types
    from acoupi.components.recorders.pending import PendingFiles
    from acoupi.components.saving.retention import Retention

__all__ = ["generate_file_management_task"]

OVERDUE = datetime.timedelta(days=1)


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
    keeper = Keeper(
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
