"""An HTTP server that can misbehave."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ["HTTPSink", "ReceivedRequest"]


@dataclass(frozen=True)
class ReceivedRequest:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass
class HTTPSink:
    """A real HTTP server on the loopback interface that keeps what it gets.

    Use it as a context manager. What it does with requests can be changed at any time.
    """

    status: int = 200
    """Status of answers."""
    answer: bytes = b"ok"
    """Body of answers."""
    delay: float = 0.0
    """Seconds before each answer."""
    manner: Literal["answer", "mute", "hang_up", "half", "drip"] = "answer"
    """Answer; never answer; close without an answer, after half of one, or send one
    byte of it every fifth of a second."""
    judge: Callable[[ReceivedRequest], int] | None = None
    """Gives the status of each answer, when set."""
    port: int = 0
    tls: ssl.SSLContext | None = None
    received: list[ReceivedRequest] = field(default_factory=list)
    """Every request that was read whole."""
    accepted: list[ReceivedRequest] = field(default_factory=list)
    """Those answered with 2xx."""
    connections: int = 0
    """How many were opened in all."""

    def __post_init__(self) -> None:
        self.closing = threading.Event()
        self._server: _Listener | None = None
        self._open: list[socket.socket] = []

    @property
    def url(self) -> str:
        """Address to post to."""
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://localhost:{self.port}/messages"

    def start(self) -> None:
        """Listen, on the same port as before when there was a before."""
        self.closing.clear()
        server = _Listener(self)
        if self.tls is not None:
            server.socket = self.tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = server.server_port
        self._server = server
        threading.Thread(
            target=server.serve_forever, args=(0.05,), name="http-sink", daemon=True
        ).start()

    def stop(self) -> None:
        """Close the server and every connection."""
        self.closing.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _note_connection(self, connection: socket.socket) -> None:
        self.connections += 1
        self._open.append(connection)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, sink: HTTPSink) -> None:
        self.sink = sink
        super().__init__(("127.0.0.1", sink.port), _Handler)

    def handle_error(self, *_: object) -> None:
        """Keep tests quiet: clients that go away are what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self.server.sink._note_connection(self.connection)

    def log_message(self, *_: object) -> None:
        """Keep tests quiet."""

    def do_POST(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def _serve(self) -> None:
        sink = self.server.sink
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(length)
        request = ReceivedRequest(self.command, self.path, headers, body)
        sink.received.append(request)
        sink.closing.wait(sink.delay)
        status = sink.judge(request) if sink.judge else sink.status
        answer = b"" if self.command == "HEAD" else sink.answer
        head = f"HTTP/1.1 {status} Status\r\nContent-Length: {len(answer)}\r\n\r\n"
        if sink.closing.is_set() or sink.manner != "answer":
            self.close_connection = True
            self._misbehave(head.encode())
            return
        if 200 <= status < 300:
            sink.accepted.append(request)
        self.wfile.write(head.encode() + answer)
        self.wfile.flush()

    def _misbehave(self, head: bytes) -> None:
        sink = self.server.sink
        if sink.manner == "mute":
            sink.closing.wait()
        elif sink.manner == "half":
            self.wfile.write(head[: len(head) // 2])
        elif sink.manner == "drip":
            for byte in head:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if sink.closing.wait(0.2):
                    break
