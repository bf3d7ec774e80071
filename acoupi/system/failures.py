"""What the log says of tasks that fail, over and over.

A task that cannot work now (the disk is full, the database busy) is run again every
few seconds. Celery would log the whole stack each time: megabytes a day about nothing
that is wrong with the program.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from acoupi.errors import AcoupiError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FailureFilter", "quieten_failures"]

AGAIN = 60.0
"""Seconds after which the same failure of the same task is logged again."""

_MOST_KINDS = 50


class FailureFilter(logging.Filter):
    """Logs each failure of a task in a line, and the same at most once a minute.

    What is told in words for people comes without a stack; a mistake in a program
    with it.

    Parameters
    ----------
    clock : callable
        Monotonic clock in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._logged: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log a record, and shorten it."""
        context: Any = record.args
        if record.exc_info is None or not isinstance(context, dict):
            return True
        error, task = record.exc_info[1], str(context.get("name"))
        if error is None:
            return True
        is_told = isinstance(error, AcoupiError)
        text = str(error) if is_told else f"{type(error).__name__}: {error}"
        is_due, count = self._count(task, text)
        if not is_due:
            return False
        often = f" (and {count} times before)" if count else ""
        # The same for the same failure: it is what the status knows it by.
        record.msg = f"{task} failed: {text}".replace("%", "%%") + "%s"
        record.args = (often,)
        if is_told:
            record.exc_info = None
        return True

    def _count(self, task: str, text: str) -> tuple[bool, int]:
        """Return whether a failure is due, and how often it was not told since."""
        now = self._clock()
        # Tasks of a pool fail side by side.
        with self._lock:
            logged_at, count = self._logged.pop((task, text), (-AGAIN, 0))
            is_due = now - logged_at >= AGAIN
            # The latest is last.
            self._logged[task, text] = (now, 0) if is_due else (logged_at, count + 1)
            if len(self._logged) > _MOST_KINDS:
                del self._logged[next(iter(self._logged))]
        return is_due, count


_FILTER = FailureFilter()


def quieten_failures() -> None:
    """Have Celery log failures of tasks in this way, in this process."""
    logging.getLogger("celery.app.trace").addFilter(_FILTER)
