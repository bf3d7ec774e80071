"""What tests of delivery have in common."""

from __future__ import annotations

import contextlib
import socket
import threading

from acoupi import data
from acoupi.components.delivery import RetryPolicy

EAGER = RetryPolicy(first_delay=0, longest_delay=0)


def fill(outbox, count, first=0):
    """Store messages with the contents ``first``, ``first + 1``..."""
    messages = [data.Message(content=f"{n}") for n in range(first, first + count)]
    with outbox.database.transaction():
        for message in messages:
            outbox.store_message(message)
    return messages


def bodies(requests):
    """Return the texts that an HTTP server got."""
    return [request.body.decode() for request in requests]


def payloads(subscriber):
    """Return the texts that a subscriber got."""
    return [message.payload.decode() for message in subscriber.received]


def waiting(outbox, destination):
    """Return how many messages wait for a destination."""
    return outbox.counts()[destination].waiting


class Link:
    """The way to a server, over TCP, that fails in chosen manners.

    ``manner`` may be changed at any time: "open" passes everything on; "refused" closes
    the port and what is open; "mute" closes what is open, takes new connections and
    passes nothing on; "half_open" does the same but goes on holding what is open, as
    when the other machine vanished; "slow" passes on a small piece now and then.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.connections = 0
        """How many were taken in all."""
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._manner = "open"
        self._closing = threading.Event()
        self._server = self._listen(0)
        self.port = self._server.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.manner = "refused"
        self._closing.set()

    @property
    def manner(self) -> str:
        return self._manner

    @manner.setter
    def manner(self, manner: str) -> None:
        former, self._manner = self._manner, manner
        if manner == former:
            return
        if manner == "refused":
            with contextlib.suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
        if manner in {"refused", "mute", "open"}:
            # What was held while nothing passed is of no use to anybody any more.
            with self._lock:
                held, self._open = self._open, []
            for connection in held:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        if former == "refused":
            self._server = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        return server

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with self._lock:
                self._open.append(connection)
                self.connections += 1
            threading.Thread(
                target=self._carry, args=(connection,), daemon=True
            ).start()

    def _carry(self, near: socket.socket) -> None:
        try:
            with near, socket.create_connection(("127.0.0.1", self.target)) as far:
                back = threading.Thread(
                    target=self._pass_on, args=(far, near), daemon=True
                )
                back.start()
                self._pass_on(near, far)
                back.join()
        except OSError:
            pass
        finally:
            with self._lock:
                if near in self._open:
                    self._open.remove(near)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(256 if self._manner == "slow" else 65536):
                if self._manner == "slow":
                    self._closing.wait(0.01)
                if self._manner in {"open", "slow"}:
                    target.sendall(piece)
        # Who ends a connection that passes nothing on is not heard at the other end.
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
