"""Tasks that the queue's server handed to a worker which is no more.

The server keeps what it handed out until the worker says that it is done. A worker that
is killed never says so. Handing it out again is not the server's here (reconciliation
rings again), so these would stay for ever: a model that crashes again and again would
fill the server's memory in two days, and then no task could be queued any more.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["forget_lost_deliveries"]

AGE = 3600.0
"""Seconds after which a task that was handed out is not waited for any more. When its
worker lives after all, nothing happens but that it may not put the task back."""

MOST = 5000
"""Tasks that are forgotten in one go at most."""

logger = logging.getLogger(__name__)


def forget_lost_deliveries(channel: Any, clock: Callable[[], float] = time.time) -> int:
    """Remove from a Redis server what workers took long ago and never finished.

    Parameters
    ----------
    channel : kombu.transport.virtual.Channel
        A channel to the server; of other transports than Redis, nothing is removed.
    clock : callable
        The time, in seconds, as Redis notes it.

    Returns
    -------
    int
        How many were removed; 0 as well when the server cannot be asked.
    """
    # Names of kombu's Redis transport; others have none of them.
    index = getattr(channel, "unacked_index_key", None)
    if index is None:
        return 0
    try:
        with channel.conn_or_acquire() as client:
            lost = client.zrangebyscore(index, "-inf", clock() - AGE, start=0, num=MOST)
            if lost:
                client.hdel(channel.unacked_key, *lost)
                client.zrem(index, *lost)
    # Whatever it is, the worker can do its work.
    except Exception as error:  # noqa: BLE001 - any transport's errors
        logger.debug("Lost deliveries are not forgotten: %s", error)
        return 0
    if lost:
        logger.info("%d tasks of workers that are gone were forgotten", len(lost))
    return len(lost)
