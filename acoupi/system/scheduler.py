"""A schedule that lives in memory and runs on the monotonic clock.

Celery's own scheduler compares wall-clock times: after a reboot with the clock a day
early it stops until the clock has caught up. Here intervals are counted by the
monotonic clock, and only calendar schedules (crontab, solar) look at the wall clock,
again whenever it is set.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery import schedules
from celery.beat import ScheduleEntry, Scheduler
from celery.utils.log import get_logger

from acoupi.system.notify import ServiceNotifier

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MonotonicScheduler", "Timetable"]

logger = get_logger(__name__)

LONGEST_SLEEP = 5.0
"""Seconds between two looks at the wall clock and two signs of life."""

CLOCK_STEP = 2.0
"""Seconds by which the wall clock must leave the monotonic one to count as set."""

WAITING_TICKS = 100
"""Tasks that may wait in a queue before no more ticks are added to it. A tick means
"do what is pending", so a hundred of them say no more than one."""


@dataclass
class _Due:
    entry: ScheduleEntry
    interval: float | None
    """Seconds between runs; None for a calendar schedule."""
    at: float
    """Monotonic time of the next run."""


class Timetable:
    """When each entry is due next. Pure, apart from the clocks it is given.

    Parameters
    ----------
    entries : dict of str to celery.beat.ScheduleEntry
        The schedule.
    monotonic, wall : callable
        Clocks, in seconds.
    """

    def __init__(
        self,
        entries: dict[str, ScheduleEntry],
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._offset = wall() - monotonic()
        now = monotonic()
        self._due: dict[str, _Due] = {}
        for name, entry in entries.items():
            interval = _interval_of(entry.schedule)
            due = _Due(entry, interval, now)
            due.at = now + (interval if interval is not None else _until(entry))
            self._due[name] = due

    def take_due(self) -> list[ScheduleEntry]:
        """Return the entries that are due now, and plan their next runs.

        Runs that were missed are not made up for, except one.
        """
        now = self._monotonic()
        self._follow_the_clock(now)
        taken = []
        for due in self._due.values():
            if due.at > now:
                continue
            taken.append(due.entry)
            if due.interval is None:
                due.at = now + _until(due.entry)
            else:
                missed = (now - due.at) // due.interval
                due.at += (missed + 1) * due.interval
        return taken

    def seconds_until_next(self) -> float:
        """Return how long nothing is due, in seconds, at most `LONGEST_SLEEP`."""
        now = self._monotonic()
        waits = [due.at - now for due in self._due.values()]
        return max(0.0, min([LONGEST_SLEEP, *waits]))

    def _follow_the_clock(self, now: float) -> None:
        offset = self._wall() - now
        if abs(offset - self._offset) < CLOCK_STEP:
            return
        logger.info("The clock was set by %+.0f s", offset - self._offset)
        self._offset = offset
        for due in self._due.values():
            # What is due already stays due.
            if due.interval is None and due.at > now:
                due.at = now + _until(due.entry)


class MonotonicScheduler(Scheduler):
    """Beat's scheduler: see the module. Nothing is stored between two runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._timetable: Timetable | None = None
        self._notifier = ServiceNotifier()
        self._crowded: set[str] = set()
        super().__init__(*args, **kwargs)
        self.max_interval = int(LONGEST_SLEEP)

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """Queue what is due; return the seconds until the next tick."""
        if self._timetable is None:
            self._timetable = Timetable(self.schedule)
            self._notifier.ready("scheduling")
        for entry in self._timetable.take_due():
            self._queue(entry)
        self._notifier.alive()
        return self._timetable.seconds_until_next()

    def _queue(self, entry: ScheduleEntry) -> None:
        try:
            if self._is_crowded(entry):
                return
            self.apply_async(entry, producer=self.producer, advance=False)
        # The next tick says the same again, so nothing is lost with this one.
        except Exception as error:  # noqa: BLE001 - any transport's errors
            logger.warning("Could not queue %s: %s", entry.name, error)
            self._reset_producer()

    def _is_crowded(self, entry: ScheduleEntry) -> bool:
        options = {"queue": entry.options.get("queue")} if entry.options else {}
        route = self.app.amqp.router.route(options, str(entry.task))
        queue = route["queue"].name
        waiting = self._count_waiting(queue)
        if waiting <= WAITING_TICKS:
            self._crowded.discard(queue)
            return False
        if queue not in self._crowded:
            self._crowded.add(queue)
            logger.warning(
                "%d tasks wait in queue %s: no more ticks are added to it until its "
                "worker catches up",
                waiting,
                queue,
            )
        return True

    def _count_waiting(self, queue: str) -> int:
        channel: Any = self.producer.channel
        errors = self.connection.channel_errors
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except errors:
            return 0  # No queue of that name yet.

    def _reset_producer(self) -> None:
        connection = self.__dict__.pop("connection", None)
        self.__dict__.pop("producer", None)
        if connection is not None:
            try:
                connection.release()
            except Exception:  # A dead connection may fail to close.
                logger.debug("Closing the broker connection failed", exc_info=True)

    def _ensure_connected(self) -> Any:
        # Celery's own waits here for ever; a tick is bounded, and comes again.
        connection: Any = self.connection
        return connection.ensure_connection(max_retries=1, interval_start=0.1)


def _interval_of(schedule: Any) -> float | None:
    if (
        isinstance(schedule, schedules.schedule)
        and type(schedule).is_due is schedules.schedule.is_due
    ):
        interval: Any = schedule
        return max(float(interval.run_every.total_seconds()), 0.01)
    return None


def _until(entry: ScheduleEntry) -> float:
    """Return the seconds from now to the next run of a calendar schedule."""
    schedule: Any = entry.schedule
    remaining = schedule.remaining_estimate(schedule.now())
    return max(float(remaining.total_seconds()), 0.01)
