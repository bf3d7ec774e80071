"""Handing a value to another task: a ring at its door, never the only copy.

The store and the files are the truth; a ring that is lost is rung again by
reconciliation. So a broker that is down may cost a moment, never an exception and
never a task's time.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from celery import Celery, Task

__all__ = ["Doorbell"]

RETRY_POLICY: dict[str, float] = {
    # The first retry is for a connection that died unnoticed: it opens a new one.
    "max_retries": 2,
    "interval_start": 0.05,
    "interval_step": 0.2,
    "interval_max": 0.3,
}
"""How long a ring insists: about half a second with a broker that refuses."""

PAUSE_AFTER_FAILURE = 5.0
"""Seconds without a try after a ring failed, so that many rings in a row do not
each wait for a broker that is down."""


MOST_WAITING = 5000
"""Tasks that may wait in a queue before it is rung for no more: some 8 MB of broker
memory. The store knows the rest."""

COUNT_EVERY = 50
"""Rings between two counts of what waits."""


class Doorbell:
    """Queues tasks, without ever raising.

    Parameters
    ----------
    logger : logging.Logger
        Told once when ringing starts to fail and once when it works again.
    clock : callable
        Monotonic clock in seconds.
    """

    def __init__(
        self,
        logger: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._silent_until: float | None = None
        self._unheard = 0
        self._rings: dict[str, int] = {}
        self._crowded: set[str] = set()

    def ring(self, task: Task[Any, Any], *arguments: object) -> bool:
        """Queue the task with these arguments.

        Returns
        -------
        bool
            Whether it was queued.
        """
        with self._lock:
            if self._silent_until is not None and self._clock() < self._silent_until:
                self._unheard += 1
                return False
        try:
            task.apply_async(arguments, retry=True, retry_policy=RETRY_POLICY)
        # The store holds what the ring was about.
        except Exception as error:  # noqa: BLE001 - any transport's errors
            self._note_failure(task.name, error)
            return False
        self._note_success()
        return True

    def ring_for(self, task: Task[Any, Any], queue: str, value: object) -> bool:
        """Queue the task with a value, unless too much waits in its queue already.

        Returns
        -------
        bool
            Whether it was queued.
        """
        if self._is_crowded(task.app, queue):
            return False
        return self.ring(task, value)

    def _is_crowded(self, app: Celery, queue: str) -> bool:
        with self._lock:
            rings = self._rings.get(queue, 0)
            self._rings[queue] = rings + 1
            was_crowded = queue in self._crowded
            silent = self._silent_until is not None
        if rings % COUNT_EVERY or silent:
            return was_crowded
        waiting = self.count_waiting(app, [queue])
        crowded = waiting is not None and waiting >= MOST_WAITING
        with self._lock:
            (self._crowded.add if crowded else self._crowded.discard)(queue)
        if crowded and not was_crowded:
            self._logger.warning(
                "%d tasks wait in queue %s: it is rung for again when they are done",
                waiting,
                queue,
            )
        return crowded

    def count_waiting(self, app: Celery, queues: Sequence[str]) -> int | None:
        """Return how many tasks wait in some queues.

        Returns
        -------
        int or None
            None when the broker cannot tell.
        """
        try:
            with app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
                channel: Any = connection.default_channel
                return sum(_waiting(connection, channel, queue) for queue in queues)
        # Not knowing is an answer.
        except Exception as error:  # noqa: BLE001 - any transport's errors
            self._logger.debug("Could not count waiting tasks: %s", error)
            return None

    def _note_failure(self, name: str, error: Exception) -> None:
        with self._lock:
            first = self._silent_until is None
            self._silent_until = self._clock() + PAUSE_AFTER_FAILURE
            self._unheard += 1
        if first:
            self._logger.warning(
                "Could not queue %s (%s: %s); what is pending is queued again by "
                "reconciliation once the broker is back",
                name,
                type(error).__name__,
                error,
            )

    def _note_success(self) -> None:
        with self._lock:
            if self._silent_until is None:
                return
            unheard, self._unheard, self._silent_until = self._unheard, 0, None
        self._logger.info("Queueing works again; %d tasks were not queued", unheard)


def _waiting(connection: Any, channel: Any, queue: str) -> int:
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except connection.channel_errors:
        return 0  # No queue of that name yet.
