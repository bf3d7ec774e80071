"""What a recorder has lost, until somebody keeps account of it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

__all__ = ["Loss", "LossAccount"]

logger = logging.getLogger(__name__)

TELL_EVERY = 3600.0
"""Seconds between two lines in the log about losses of one kind and reason."""


@dataclass(frozen=True)
class Loss:
    """Something that was wanted and is not there."""

    kind: str
    """``samples`` (frames never written) or ``recordings`` (files dropped)."""
    count: int
    reason: str


class LossAccount:
    """Sums of losses by kind and reason; any thread may add and take."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._tell_again: dict[tuple[str, str], float] = {}

    def add(self, loss: Loss) -> None:
        """Count a loss, and log it, unless the same was logged lately.

        What lasts is lost at every turn: a line for each would drown all others.
        """
        self.take_back(loss)
        key, now = (loss.kind, loss.reason), time.monotonic()
        if now >= self._tell_again.get(key, now):
            self._tell_again[key] = now + TELL_EVERY
            logger.error("lost: %d %s: %s", loss.count, loss.kind, loss.reason)

    def take(self) -> list[Loss]:
        """Return what was lost since the last call."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return [Loss(kind, count, reason) for (kind, reason), count in counts.items()]

    def take_back(self, loss: Loss) -> None:
        """Keep a loss that could not be accounted for until the next `take`."""
        with self._lock:
            key = (loss.kind, loss.reason)
            self._counts[key] = self._counts.get(key, 0) + loss.count
