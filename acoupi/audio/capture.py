"""One source held open for ever: its frames, their losses, its faults.

The driver's thread copies blocks into a ring and counts; nothing else happens there.
A guard thread opens the source and opens it again after any fault, for ever. The
frames of one opening are a `Take`, read by one consumer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from acoupi.audio.take import RING_SECONDS, Take

if TYPE_CHECKING:
    from acoupi.audio.sources import Source, SourceStream

__all__ = ["Capture"]

logger = logging.getLogger(__name__)

LONGEST_PAUSE = 5.0
"""Longest time between two attempts to open a source, in seconds: a microphone that is
back is heard within twice that."""


class Capture:
    """Keeps a source open and hands over what it delivers.

    Parameters
    ----------
    source
        What to capture.
    ring_seconds
        How long the consumer may pause before frames are lost.
    patience
        Seconds without any frame after which the source is opened again: an unplugged
        microphone says nothing at all.
    close_patience
        Seconds after which a driver that does not close counts as stuck.
    """

    def __init__(
        self,
        source: Source,
        *,
        ring_seconds: float = RING_SECONDS,
        patience: float = 4.0,
        close_patience: float = 10.0,
    ) -> None:
        self.source = source
        self.close_patience = close_patience
        self.ring_seconds = ring_seconds
        self.patience = patience
        self.openings = 0
        """How often the source was opened."""
        self.failure: str | None = None
        """Why the source is not open, or None when it is."""
        self.ended = False
        """Whether the source has come to its end for good."""
        self.stuck = False
        """Whether the driver does not come back: only a new process helps."""
        self.away = 0.0
        """Seconds without the source since it was first open."""
        self._takes: deque[Take] = deque()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._last_sign = time.monotonic()
        self._away_since: float | None = None

    def start(self) -> None:
        """Begin to capture; returns at once."""
        if self._thread is not None:
            return
        self._stopping.clear()
        self.ended = False
        self._last_sign = time.monotonic()
        self._thread = threading.Thread(target=self._guard, name="guard", daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 15.0) -> None:
        """Close the source; what was captured can still be read."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)
            self._thread = None
        for take in self._takes:
            take.closed = True

    @property
    def take(self) -> Take | None:
        """The oldest take that is not drained, or None."""
        with self._lock:
            while self._takes and self._takes[0].drained:
                self._takes.popleft()
            return self._takes[0] if self._takes else None

    @property
    def alive(self) -> bool:
        """Whether the guard works: frames arrive or the source is being looked for."""
        if self._thread is None:
            return True
        since = time.monotonic() - self._last_sign
        return self._thread.is_alive() and not self.stuck and since < 60

    def seconds_away(self) -> float:
        """Return the seconds without the source since it was first open."""
        since = self._away_since
        return self.away + (0.0 if since is None else time.monotonic() - since)

    def _guard(self) -> None:
        pause = 1.0
        while not self._wait(0):
            try:
                stream = self.source.open()
            except Exception as error:  # noqa: BLE001  (no failure to open is final)
                self._report(f"{error}")
                self._wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            delivered = self._hold(stream)
            if self.source.exhausted and stream.ended:
                self.ended = True
                self.failure = stream.failure
                while not self._wait(1.0):
                    pass
                return
            if delivered:
                pause = 1.0
            elif not self._stopping.is_set():
                self._wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _hold(self, stream: SourceStream) -> bool:
        """Keep a stream open until it fails, ends or is not wanted any more."""
        take = Take(stream, ring_seconds=self.ring_seconds)
        reason = None
        try:
            stream.start(take)
            with self._lock:
                self._takes.append(take)
            self.openings += 1
            reason = self._watch(stream, take)
        except Exception as error:  # noqa: BLE001  (no failure to open is final)
            reason = f"{stream.identity}: {error}"
        if reason is not None:
            self._report(reason)
        self._close(stream)
        take.closed = True
        if take.last_arrival is not None and not self._stopping.is_set():
            self._away_since = take.last_arrival
        # A second ring is made only when the first is read: memory stays bounded.
        while self.take is not None and not self._wait(0.1):
            pass
        return take.last_arrival is not None

    def _watch(self, stream: SourceStream, take: Take) -> str | None:
        while not self._wait(0.25):
            now = time.monotonic()
            if take.last_arrival is not None:
                if self._away_since is not None:
                    self.away += max(0.0, take.opened_on - self._away_since)
                    self._away_since = None
                if self.failure is not None:
                    logger.warning("%s: sound arrives again", take.identity)
                    self.failure = None
            if stream.ended:
                return stream.failure
            if now - (take.last_arrival or take.opened_on) > self.patience:
                return (
                    f"{take.identity}: no sound for {self.patience:g} s; is it "
                    "unplugged? It is looked for until it is back"
                )
        return None

    def _close(self, stream: SourceStream) -> None:
        """Close a stream in a thread of its own: drivers of lost devices can hang."""
        closing = threading.Thread(
            target=_close_quietly, args=(stream,), name="close", daemon=True
        )
        closing.start()
        closing.join(self.close_patience)
        while closing.is_alive():
            if not self.stuck:
                self.stuck = True
                self._report(f"{stream.identity}: the audio driver does not answer")
            if self._wait(1.0):
                return
        self.stuck = False

    def _report(self, reason: str) -> None:
        if reason != self.failure:
            logger.warning("%s", reason)
            self.failure = reason

    def _wait(self, seconds: float) -> bool:
        self._last_sign = time.monotonic()
        return self._stopping.wait(seconds)


def _close_quietly(stream: SourceStream) -> None:
    try:
        stream.close()
    except Exception as error:  # noqa: BLE001  (it is being given up anyway)
        logger.warning("%s: closing it failed: %s", stream.identity, error)
