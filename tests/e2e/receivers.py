"""Where sensors send their messages in the tests: servers that outlive their cuts."""

from __future__ import annotations

import abc
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import MachineError

from acoupi.testing import HTTPSink, MosquittoBroker, MQTTSubscriber
from acoupi.testing.http import ReceivedRequest

PUBACK = 4
"""MQTT's number of an acknowledgement."""


@dataclass(frozen=True)
class Arrival:
    """A message as it arrived."""

    key: str
    """The message's id, by which a receiver tells a repetition."""
    body: bytes


class Receiver(abc.ABC):
    """A server that takes messages.

    Parameters
    ----------
    directory : Path
        For its files.
    """

    destination: str
    """Its name in the sensor's configuration and database."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.when_answered: Callable[[], object] | None = None
        """Called when a message has arrived, before the sensor is told so."""

    @property
    @abc.abstractmethod
    def port(self) -> int:
        """Where it listens, on the loopback interface."""

    @abc.abstractmethod
    def start(self) -> None:
        """Listen."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End."""

    @abc.abstractmethod
    def settings(self, host: str, port: int) -> dict[str, Any]:
        """Return the configuration of a sensor that reaches it there."""

    @abc.abstractmethod
    def arrived(self) -> list[Arrival]:
        """Return every message that arrived, and each repetition, in their order."""

    @abc.abstractmethod
    def forget_after(self, number: int) -> None:
        """Let what arrived after that many messages never have been."""


class HTTPReceiver(Receiver):
    """A real HTTP server."""

    destination = "http"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._sink = HTTPSink(judge=self._judge)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._sink.port

    def start(self) -> None:
        """Listen."""
        self._sink.start()

    def stop(self) -> None:
        """End, with every connection."""
        self._sink.stop()

    def settings(self, host: str, port: int) -> dict[str, Any]:
        """Return the configuration of a sensor that reaches it there."""
        return {"base_url": f"http://{host}:{port}/messages", "timeout": 20}

    def arrived(self) -> list[Arrival]:
        """Return every message that was read whole."""
        return [
            Arrival(it.headers.get("idempotency-key", ""), it.body)
            for it in list(self._sink.received)
            if it.method == "POST"
        ]

    def forget_after(self, number: int) -> None:
        """Let what arrived after that many messages never have been."""
        posts = [it for it in self._sink.received if it.method == "POST"]
        self._sink.received[:] = posts[:number]

    def _judge(self, _: ReceivedRequest) -> int:
        if self.when_answered is not None:
            self.when_answered()
        return 200


class MQTTReceiver(Receiver):
    """A real MQTT broker with a subscriber, behind a gate that sees its answers."""

    destination = "mqtt"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.directory.mkdir(exist_ok=True)
        self._broker = MosquittoBroker(directory)
        self._subscriber: MQTTSubscriber | None = None
        self._gate = Gate(self._broker.port, self._pass_answer)
        self._acknowledged = 0
        self._forgotten = 0

    @property
    def port(self) -> int:
        """Where the gate is."""
        return self._gate.port

    def start(self) -> None:
        """Start the broker, and subscribe to everything."""
        self._broker.start()
        self._subscriber = MQTTSubscriber(self._broker.port)
        self._subscriber.__enter__()

    def stop(self) -> None:
        """End the broker and the gate."""
        self._gate.close()
        if self._subscriber is not None:
            self._subscriber.__exit__()
        self._broker.stop()

    def settings(self, host: str, port: int) -> dict[str, Any]:
        """Return the configuration of a sensor that reaches it there."""
        return {"host": host, "port": port, "timeout": 20}

    def arrived(self) -> list[Arrival]:
        """Return what the subscriber got; all that was acknowledged is among it."""
        assert self._subscriber is not None
        received = self._subscriber.received
        ends = time.monotonic() + 10
        while len(received) + self._forgotten < self._acknowledged:
            if time.monotonic() > ends:
                raise MachineError(
                    f"the MQTT broker has acknowledged {self._acknowledged} messages "
                    f"and passed on {len(received) + self._forgotten}"
                )
            time.sleep(0.01)
        return [
            Arrival(it.properties.get("message_id", ""), it.payload)
            for it in list(received)
        ]

    def forget_after(self, number: int) -> None:
        """Let what arrived after that many messages never have been."""
        count = len(self.arrived())
        assert self._subscriber is not None
        self._forgotten += count - number
        del self._subscriber.received[number:count]

    def _pass_answer(self, kind: int) -> None:
        if kind != PUBACK:
            return
        self._acknowledged += 1
        if self.when_answered is not None:
            self.when_answered()


class Gate:
    """A way to an MQTT broker on which each of its answers is seen before it goes on.

    Parameters
    ----------
    port : int
        Of the broker.
    see : callable
        Called with the kind (MQTT's number) of each packet of the broker's.
    """

    def __init__(self, port: int, see: Callable[[int], None]) -> None:
        self._broker = port
        self._see = see
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, name="gate", daemon=True).start()

    def close(self) -> None:
        """Close it, with every connection."""
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                # Closed.
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._broker), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._open += [near, far]
            for target, ends in ((pump, (near, far)), (self._answer, (far, near))):
                threading.Thread(target=target, args=ends, daemon=True).start()

    def _answer(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError), source.makefile("rb") as stream:
            while packet := _read_packet(stream):
                self._see(packet[0] >> 4)
                target.sendall(packet)
        _shut(source, target)


def _read_packet(stream: Any) -> bytes:
    """Read one packet of MQTT whole; empty at the end."""
    packet: bytes = stream.read(1)
    length = shift = 0
    while packet:
        byte = stream.read(1)
        if not byte:
            return b""
        packet += byte
        length |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
    content: bytes = stream.read(length)
    return packet + content if len(content) == length else b""


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes until one end closes; then close both ways."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    _shut(source, target)


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


RECEIVERS: dict[str, type[Receiver]] = {
    kind.destination: kind for kind in (HTTPReceiver, MQTTReceiver)
}
"""Every kind, by its name."""
