"""Whether a worker still works, and who is told.

A task that hangs, a consumer that no longer turns, or a recorder without samples make
a worker ill. Its service manager hears signs of life only while it is well, and
restarts it otherwise.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from acoupi.system.notify import ServiceNotifier

__all__ = ["SUPERVISED_VARIABLE", "Condition", "Guard"]

SUPERVISED_VARIABLE = "ACOUPI_SUPERVISED"
"""Set (to anything) by a parent that restarts the process when it ends: then an ill
worker ends itself. Under systemd the watchdog does that."""

PATIENCE = 30.0
"""Seconds that a worker may be ill before it ends itself, when supervised."""

logger = logging.getLogger(__name__)


class Condition:
    """What a worker knows of its own parts. Thread-safe; pure apart from its clock.

    Parameters
    ----------
    needs_broker : bool
        Whether the worker is of no use without the broker.
    task_limit : float
        Seconds after which a running task counts as hung.
    is_healthy : callable
        The program's own opinion.
    clock : callable
        Monotonic clock in seconds.
    """

    CONSUMER_SILENCE = 20.0
    """Seconds without a turn of the consumer's loop that are allowed."""

    WITHOUT_BROKER = 600.0
    """Seconds that a worker may look for the broker before it is started afresh."""

    IDLE_WITH_TASKS = 60.0
    """Seconds for which the consumer may hold tasks while none runs."""

    def __init__(
        self,
        *,
        needs_broker: bool,
        task_limit: float,
        is_healthy: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._needs_broker = needs_broker
        self._task_limit = task_limit
        self._is_healthy = is_healthy
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[str, tuple[str, float]] = {}
        self._connected = False
        self._turned_on = clock()
        self._idle_since: float | None = None

    def task_began(self, task_id: str, name: str) -> None:
        """Note that a task runs."""
        with self._lock:
            self._running[task_id] = (name, self._clock())

    def task_ended(self, task_id: str) -> None:
        """Note that a task ended."""
        with self._lock:
            self._running.pop(task_id, None)

    def consumer_turned(self) -> None:
        """Note that the consumer's loop is alive, and connected."""
        with self._lock:
            self._connected = True
            self._turned_on = self._clock()

    def consumer_holds(self, *, all_it_may: bool) -> None:
        """Note whether the consumer holds as many unfinished tasks as it may.

        Then it takes no other. When none of them runs, they will never be finished:
        whatever was to run them is gone.
        """
        with self._lock:
            if not all_it_may or self._running:
                self._idle_since = None
            elif self._idle_since is None:
                self._idle_since = self._clock()

    def consumer_disconnected(self) -> None:
        """Note that the consumer looks for the broker."""
        with self._lock:
            if self._connected:
                self._connected = False
                self._turned_on = self._clock()

    def illness(self) -> str | None:
        """Return what is wrong in a few words, None when all is well."""
        now = self._clock()
        with self._lock:
            running = list(self._running.values())
            silence = now - self._turned_on
            connected = self._connected
            idle_since = self._idle_since
        for name, since in running:
            if now - since > self._task_limit:
                return f"task {name} has been running for {now - since:.0f} s"
        # A task may hold the consumer up for as long as it may run.
        if self._needs_broker and not running:
            if connected and silence > self.CONSUMER_SILENCE:
                return f"the consumer has not turned for {silence:.0f} s"
            if not connected and silence > self.WITHOUT_BROKER:
                return f"no broker for {silence:.0f} s"
        if idle_since is not None and now - idle_since > self.IDLE_WITH_TASKS:
            return f"tasks were taken {now - idle_since:.0f} s ago, and none runs"
        try:
            healthy = self._is_healthy()
        # A program's own code must not end the guard.
        except Exception:
            logger.exception("The program's worker_healthy failed")
            healthy = False
        return None if healthy else "the program reports no progress"


class Guard:
    """A thread that gives signs of life while the worker is well.

    Parameters
    ----------
    condition : Condition
        What is known of the worker.
    notifier : ServiceNotifier
        Who hears the signs of life.
    end_process : callable, optional
        Called when the worker stays ill and nothing else would restart it; default:
        kill the process when `SUPERVISED_VARIABLE` is set, else nothing.
    clock : callable
        Monotonic clock in seconds.
    """

    def __init__(
        self,
        condition: Condition,
        notifier: ServiceNotifier,
        end_process: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._condition = condition
        self._notifier = notifier
        self._end_process = end_process or _end_if_supervised
        self._clock = clock
        self._ill_since: float | None = None
        self._told = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="acoupi-guard", daemon=True
        )

    def start(self) -> None:
        """Begin to look every second."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def look(self) -> None:
        """Look once: give a sign of life, or complain."""
        illness = self._condition.illness()
        if illness is None:
            if self._told:
                logger.warning("The worker works again")
                self._notifier.status("working")
            self._ill_since, self._told = None, False
            self._notifier.alive()
            return
        now = self._clock()
        if self._ill_since is None:
            self._ill_since = now
        if not self._told:
            self._told = True
            logger.error("The worker does not work: %s", illness)
            self._notifier.status(f"not working: {illness}")
        if now - self._ill_since > PATIENCE:
            self._end_process()

    def _watch(self) -> None:
        while not self._stopped.wait(1.0):
            self.look()


def _end_if_supervised() -> None:
    if os.environ.get(SUPERVISED_VARIABLE):
        faulthandler.dump_traceback(file=sys.__stderr__ or sys.stderr)
        os._exit(70)  # EX_SOFTWARE; no clean-up: something hangs.
