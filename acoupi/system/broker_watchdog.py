"""Ends the sensor's own broker when it hangs.

A server that died is started anew by whoever keeps the sensor's processes; one that
hangs is not missed by anybody, for it takes connections and says nothing. Any worker
may end it: nothing is lost with it, and the next one is there in a moment.
"""

from __future__ import annotations

import logging
import os
import signal
import socket as sockets
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["BrokerWatchdog", "Server", "find_listener"]

logger = logging.getLogger(__name__)

PERIOD = 10.0
"""Seconds between two questions."""

ANSWER_TIME = 5.0
"""Seconds that an answer may take, on a machine that is busy otherwise."""

QUESTIONS = 4
"""How many in a row may stay without an answer: for a minute, as long as a service's
own watchdog waits. Counted, not timed, since who asks may have been held up as well."""

_CREDENTIALS = struct.Struct("3i")
"""``struct ucred``, see `unix(7)`: process, user and group id."""


@dataclass(frozen=True)
class Server:
    """A process that listens on a socket, and whether it says anything."""

    pid: int
    """0 when it cannot be seen from here."""
    user: int
    answers: bool


def find_listener(socket: Path) -> Server | None:
    """Find out who listens on a unix socket, and whether it is well.

    Returns
    -------
    Server or None
        None where nobody listens, or no connection is to be had.
    """
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_TIME)
        try:
            connection.connect(str(socket))
            # Of the process that called listen(), which a client cannot fake.
            peer = connection.getsockopt(
                sockets.SOL_SOCKET, sockets.SO_PEERCRED, _CREDENTIALS.size
            )
        except OSError:
            return None
        pid, user, _ = _CREDENTIALS.unpack(peer)
        try:
            connection.sendall(b"PING\r\n")
            # Whatever it says: one that refuses is not one that hangs. One that ends
            # hangs up.
            connection.recv(64)
        except TimeoutError:
            return Server(pid, user, answers=False)
        except OSError:
            pass
        return Server(pid, user, answers=True)


class BrokerWatchdog:
    """Asks the broker every few seconds whether it is there.

    Parameters
    ----------
    socket : Path
        The broker's.
    find : callable
        As `find_listener`.
    """

    def __init__(
        self,
        socket: Path,
        find: Callable[[Path], Server | None] = find_listener,
    ) -> None:
        self._socket = socket
        self._find = find
        self._silent: int | None = None
        self._questions = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._watch, name="acoupi-broker-watchdog", daemon=True
        )

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; returns at once."""
        self._stopped.set()

    def look(self) -> None:
        """Ask once, and end a server that has said nothing for too long."""
        server = self._find(self._socket)
        if server is None or server.answers or not _is_ours(server):
            self._questions = 0
            return
        if server.pid != self._silent:
            self._questions = 0
        self._silent = server.pid
        self._questions += 1
        if self._questions >= QUESTIONS:
            self._questions = 0
            _end(server.pid)

    def _watch(self) -> None:
        while not self._stopped.wait(PERIOD):
            try:
                self.look()
            # No socket may be had now, as when too many files are open.
            except OSError as error:
                logger.debug("The queue's server cannot be asked: %s", error)


def _end(pid: int) -> None:
    logger.error(
        "The queue's server (process %d) has not answered for a minute: it is ended, "
        "for another to be started",
        pid,
    )
    try:
        # Even one that is stopped.
        os.kill(pid, signal.SIGKILL)
    except OSError as error:
        logger.warning("Process %d could not be ended: %s", pid, error.strerror)


def _is_ours(server: Server) -> bool:
    return server.pid > 1 and server.user == os.geteuid()
