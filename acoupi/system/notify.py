"""Telling the service manager that a process is ready and alive (sd_notify).

The protocol is one datagram of ``KEY=value`` lines to the socket named by
``NOTIFY_SOCKET``; see sd_notify(3). Without that variable nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ServiceNotifier"]


class ServiceNotifier:
    """Talks to the service manager, when there is one.

    Parameters
    ----------
    environment : mapping, optional
        Where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are looked up;
        default: the process's environment.
    clock : callable
        Monotonic clock in seconds.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = environment.get("NOTIFY_SOCKET") or None
        self._clock = clock
        self._last_alive: float | None = None
        own = environment.get("WATCHDOG_PID") in {None, "", str(os.getpid())}
        microseconds = environment.get("WATCHDOG_USEC", "") if own else ""
        self.watchdog: float | None = (
            int(microseconds) / 1e6 if microseconds.isdigit() else None
        )
        """Seconds without a sign of life after which the process is killed."""

    def ready(self, status: str) -> None:
        """Say that start-up is finished, and in a few words what is going on."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """Say in a few words what is going on."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """Say that the process is shutting down."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Give a sign of life; cheap to call often."""
        now = self._clock()
        pause = min(1.0, (self.watchdog or 10.0) / 4)
        if self._last_alive is None or now - self._last_alive >= pause:
            self._last_alive = now
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        address = self._address
        if address.startswith("@"):  # The abstract namespace.
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.settimeout(1.0)
                connection.sendto(text.encode(), address)
        except OSError:
            # The service manager restarts us if it misses too many.
            return
