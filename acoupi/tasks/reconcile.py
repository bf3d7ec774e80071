"""The reconcile task: rings again for recordings that were forgotten."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from acoupi import data
    from acoupi.components import types

__all__ = ["generate_reconcile_task"]


def generate_reconcile_task(
    store: types.Store,
    ring: Callable[[data.Recording], object],
    required_models: Sequence[str],
    logger: logging.Logger | None = None,
    patience: float = 600,
    max_recordings: int = 100,
    count_waiting: Callable[[], int | None] | None = None,
) -> Callable[[], None]:
    """Build the task that has recordings analysed whose callback went missing.

    The queue may lose what it was given (a broker that restarts, a worker that is
    killed); the store does not. On its first run after the start the task rings for
    each recording that lacks a required model's output, later only for those that
    have lacked it for longer than ``patience``. A ring too many costs next to
    nothing: the detection task does not repeat what is done.

    Parameters
    ----------
    store
        Knows which recordings wait for a model.
    ring
        Queues a recording for analysis.
    required_models
        Names of the models that must look at each recording.
    logger
        For what the task has to say.
    patience
        Seconds for which a recording may wait before it is rung for again.
    max_recordings
        How many are rung for in one run at most, oldest first.
    count_waiting
        Tells how many tasks wait in the queue, None when that is not known. While
        there are ``max_recordings`` or more, nothing is rung.

    Returns
    -------
    callable
        Takes and returns nothing.
    """
    logger = logger or logging.getLogger(__name__)
    waiting_since: dict[UUID, float] = {}
    started = False

    def reconcile_task() -> None:
        """Hand on again the recordings that were not analysed."""
        nonlocal started
        if not required_models:
            return
        now = time.monotonic()
        pending = store.pending(required_models, limit=10 * max_recordings)
        known = {recording.id for recording in pending}
        for key in waiting_since.keys() - known:
            del waiting_since[key]
        first, started = not started, True
        in_queue = count_waiting() if count_waiting is not None else None
        if in_queue is not None and in_queue >= max_recordings and not first:
            return
        rung = 0
        for recording in pending:
            # what waited before the start has lost its ring: it is due
            since = waiting_since.setdefault(recording.id, -math.inf if first else now)
            if rung == max_recordings or now - since < patience:
                continue
            ring(recording)
            waiting_since[recording.id] = now
            rung += 1
        if rung:
            logger.info(
                "rang again for %d of %d recordings that wait for a model",
                rung,
                len(pending),
            )

    return reconcile_task
