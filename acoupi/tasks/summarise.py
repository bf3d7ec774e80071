"""The summary task: queue what was detected since the last summary."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from acoupi import data
from acoupi.components.types import Store

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from acoupi.components.types import MessageStore, Summariser

__all__ = ["generate_summariser_task"]


def generate_summariser_task(
    summarisers: Sequence[Summariser],
    message_store: MessageStore,
    logger: logging.Logger | None = None,
) -> Callable[[], None]:
    """Return a task that queues the summaries of the time since its last run.

    The messages of one summariser and the note that its period is covered become
    durable together when store and message store share a file; otherwise messages
    first, so that a power cut between the two repeats a summary and loses none. A
    summariser that raises is logged, does not keep the others from theirs, and covers
    the same time again on the next run.

    Parameters
    ----------
    summarisers : sequence of Summariser
        Asked one after the other with the current time.
    message_store : MessageStore
        Where messages wait for delivery.
    logger : logging.Logger, optional
        Default: that of this module.
    """
    log = logger or logging.getLogger(__name__)

    def summary_task() -> None:
        """Queue the summaries of the time since the last run."""
        for summariser in summarisers:
            try:
                queued = _summarise(summariser, message_store)
            except Exception:
                log.exception(
                    "Summariser %s failed: its time is summarised on the next run",
                    type(summariser).__name__,
                )
            else:
                log.debug("%s queued %d", type(summariser).__name__, queued)

    return summary_task


def _summarise(summariser: Summariser, message_store: MessageStore) -> int:
    """Queue one summariser's messages and return how many they are."""
    now = data.utc_now()
    store = getattr(summariser, "store", None)
    transaction: AbstractContextManager[None] = (
        store.transaction() if isinstance(store, Store) else nullcontext()
    )
    with transaction:
        built = summariser.build_summary(now)
        if built is None:
            messages = []
        else:
            messages = [built] if isinstance(built, data.Message) else built
        for message in messages:
            message_store.store_message(message)
        summariser.summary_stored(now)
    return len(messages)
