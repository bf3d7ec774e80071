"""A small HTTP server that answers with the sensor's figures."""

from __future__ import annotations

import contextlib
import http.server
import logging
import os
import socket
import stat
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from acoupi.components.metrics.exposition import CONTENT_TYPE, exposition_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from acoupi import data
    from acoupi.components.metrics.configuration import MetricsConfig

__all__ = ["MetricsEndpoint"]

MOST_CONNECTIONS = 4
"""Connections that are answered at a time; another one ends the oldest."""

PATIENCE = 5.0
"""Seconds that a client may keep silent."""

FRESHNESS = 1.0
"""Seconds for which figures are given again, so that nobody can keep the store busy."""

RETRY_INTERVAL = 30.0
"""Seconds between two attempts to listen where it was not possible."""

_LOOPBACK = "127.0.0.1"

logger = logging.getLogger(__name__)


class MetricsEndpoint:
    """Offers figures at ``/metrics``, on the loopback interface or a unix socket.

    Threads of its own answer. Nothing that goes wrong here reaches the caller: where
    it cannot listen, it says so in the log and tries again.

    Parameters
    ----------
    config
        Where to listen.
    collect
        Returns the figures of the moment.
    """

    def __init__(
        self, config: MetricsConfig, collect: Callable[[], Iterable[data.Metric]]
    ) -> None:
        self._collect = collect
        self._lock = threading.Lock()
        self._text = b""
        self._fresh_until = float("-inf")
        self._doors = [
            door
            for door in (
                _Door(config.port, self) if config.port is not None else None,
                _Door(config.socket, self) if config.socket is not None else None,
            )
            if door is not None
        ]

    def start(self) -> None:
        """Begin to answer, as soon as that is possible."""
        for door in self._doors:
            door.start()

    def stop(self) -> None:
        """Close all connections and remove the socket."""
        for door in self._doors:
            door.stop()

    def text(self) -> bytes:
        """Return the figures, not older than `FRESHNESS` seconds."""
        with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._text = exposition_text(self._collect()).encode()
                self._fresh_until = time.monotonic() + FRESHNESS
            return self._text


class _Door:
    """One address, the thread that waits there, and its connections."""

    def __init__(self, address: int | Path, endpoint: MetricsEndpoint) -> None:
        self.address = address
        self.endpoint = endpoint
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._inode: tuple[int, int] | None = None
        self._open: dict[socket.socket, None] = {}
        self._thread = threading.Thread(
            target=self._run, name="acoupi-metrics", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        with self._lock:
            for connection in [self._listener, *self._open]:
                if connection is not None:
                    _shut(connection)
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        self._remove_socket()

    def _run(self) -> None:
        told = ""
        while not self._stopped.is_set():
            try:
                with self._listen() as listener:
                    told = ""
                    self._accept(listener)
            except OSError as error:
                if (said := str(error)) != told and not self._stopped.is_set():
                    told = said
                    logger.error(  # noqa: TRY400 - the reason says it all
                        "the figures cannot be offered at %s: %s; trying again. Set "
                        "metrics.port or metrics.socket to one that is free",
                        self.address,
                        error.strerror or error,
                    )
                self._stopped.wait(RETRY_INTERVAL)

    def _listen(self) -> socket.socket:
        if isinstance(self.address, int):
            listener = socket.create_server((_LOOPBACK, self.address))
        else:
            listener = self._listen_at(self.address)
        with self._lock:
            self._listener = listener
            if self._stopped.is_set():
                _shut(listener)
        return listener

    def _listen_at(self, path: Path) -> socket.socket:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise FileExistsError(0, "a file that is no socket is in the way")
        if _answers(path):
            raise OSError(0, "another process offers something there")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Made aside, so that nobody can connect before it has its permissions.
        aside = path.with_name(f"{path.name}.new")
        try:
            aside.unlink(missing_ok=True)
            listener.bind(str(aside))
            aside.chmod(0o660)
            listener.listen(MOST_CONNECTIONS)
            found = aside.stat()
            self._inode = found.st_dev, found.st_ino
            aside.replace(path)
        except BaseException:
            listener.close()
            raise
        return listener

    def _remove_socket(self) -> None:
        if isinstance(self.address, int) or self._inode is None:
            return
        # Not the one of a process that has taken over.
        with contextlib.suppress(OSError):
            found = self.address.stat()
            if (found.st_dev, found.st_ino) == self._inode:
                self.address.unlink()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, address = listener.accept()
            with self._lock:
                if self._stopped.is_set():
                    connection.close()
                    return
                while len(self._open) >= MOST_CONNECTIONS:
                    oldest = next(iter(self._open))
                    del self._open[oldest]
                    _shut(oldest)
                self._open[connection] = None
            thread = threading.Thread(
                target=self._answer,
                args=(connection, address),
                name="acoupi-metrics-answer",
                daemon=True,
            )
            try:
                thread.start()
            except RuntimeError:
                # The service may have no more threads for now.
                self._close(connection)

    def _answer(self, connection: socket.socket, address: Any) -> None:
        try:
            # A client that goes away in the middle is its own affair.
            with contextlib.suppress(OSError):
                _Handler(connection, address or ("", 0), self)  # type: ignore[arg-type]  # it asks its server for nothing but `endpoint`
        finally:
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.pop(connection, None)
        connection.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers one request and closes the connection."""

    timeout: ClassVar[float] = PATIENCE
    server_version = "acoupi"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with the figures."""
        self._reply(with_body=True)

    def do_HEAD(self) -> None:
        """Answer as to GET, without the figures."""
        self._reply(with_body=False)

    def log_message(self, *args: Any) -> None:
        """Say nothing: a request every few seconds would fill the log."""

    def _reply(self, *, with_body: bool) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, "the figures are at /metrics")
            return
        door: Any = self.server
        try:
            text = door.endpoint.text()
        # Of whatever kind: the program's own figures may be among them.
        except Exception:
            logger.warning("the figures cannot be had", exc_info=True)
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "no figures, see the log")
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(text)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(os.fspath(path)) == 0


def _shut(connection: socket.socket) -> None:
    # Wakes the thread that waits on it, which closing alone does not.
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
