"""The wall clock beside the monotonic one, and whether it is set."""

from __future__ import annotations

import datetime
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WallClock", "clock_is_synchronised", "read_boot_id"]

TIMESYNC_FILE = Path("/run/systemd/timesync/synchronized")
"""Touched by systemd-timesyncd(8) at each synchronisation; gone after a boot."""


class WallClock:
    """Turns monotonic times into wall-clock times that do not jitter.

    The difference between the two clocks is measured again at each question, and
    taken over only when it changed by more than ``slack`` seconds: that is, when the
    clock was set.
    """

    def __init__(
        self,
        *,
        slack: float = 0.002,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slack = slack
        self._wall = wall
        self._monotonic = monotonic
        self._difference: float | None = None

    def at(self, monotonic: float) -> datetime.datetime:
        """Return the wall-clock time, in UTC, of a monotonic time in seconds."""
        before = self._monotonic()
        wall = self._wall()
        after = self._monotonic()
        measured = wall - (before + after) / 2
        slack = self.slack + (after - before)
        if self._difference is None or abs(measured - self._difference) > slack:
            self._difference = measured
        return datetime.datetime.fromtimestamp(
            monotonic + self._difference, tz=datetime.UTC
        )


def read_boot_id() -> str:
    """Return the kernel's boot identifier, or ``"unknown"`` where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return "unknown"


def clock_is_synchronised() -> bool:
    """Tell whether the kernel holds the system clock to be set and disciplined.

    Asks ``adjtimex(2)``, which every time daemon keeps informed. A service that is kept
    from that call (``ProtectClock=``) learns instead whether systemd-timesyncd has set
    the clock in this boot, or, with another time daemon (chrony, ntpd), what
    systemd-timedated finds when it makes the call. False where none of them answers.
    """
    import ctypes

    timex = ctypes.create_string_buffer(512)  # struct timex: 208 bytes, all zero: read
    try:
        state = int(ctypes.CDLL(None).adjtimex(timex))
    except (OSError, AttributeError):
        return False
    if state < 0:
        return TIMESYNC_FILE.exists() or _timedated.finds_it_set()
    time_error = 5
    return state < time_error


class _Timedated:
    """What systemd-timedated(8) says of the clock, asked now and then.

    Each question starts a process and, for a moment, that daemon: too much for every
    recording. A clock that is set stays so for hours without its time daemon.
    """

    ASK_AGAIN: ClassVar[dict[bool, float]] = {False: 60.0, True: 600.0}
    """Seconds for which each answer is taken as still right."""
    PATIENCE = 3.0
    """Seconds to wait for an answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer = False
        self._asked: float | None = None

    def finds_it_set(self) -> bool:
        """Tell whether the clock is set, as far as is known."""
        with self._lock:
            now = time.monotonic()
            if self._asked is None or now - self._asked >= self.ASK_AGAIN[self._answer]:
                self._asked = now
                self._answer = self._ask()
            return self._answer

    def _ask(self) -> bool:
        import subprocess

        service, path = "org.freedesktop.timedate1", "/org/freedesktop/timedate1"
        try:
            answer = subprocess.run(
                ["busctl", "get-property", service, path, service, "NTPSynchronized"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self.PATIENCE,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return answer.stdout.strip() == b"b true"


_timedated = _Timedated()
