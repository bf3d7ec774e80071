"""Locks on files that one process at a time holds."""

from __future__ import annotations

import fcntl
import time

__all__ = ["take_lock"]

PATIENCE = 0.5
"""Seconds that a lock may take to become free. Who has just died holds it until the
last of its threads is gone, and who asks who holds it does so for a moment, too."""


def take_lock(descriptor: int, patience: float = PATIENCE) -> bool:
    """Lock an open file for this process alone.

    Returns
    -------
    bool
        False when another still holds it after ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True
