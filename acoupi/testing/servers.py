"""Real brokers, on the loopback interface, for the time of a test."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from acoupi.testing.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["MQTTSubscriber", "MosquittoBroker", "ReceivedMessage", "RedisServer"]


class _Server:
    """A server process on the loopback interface, stopped at the end of a block."""

    program: ClassVar[str]
    port: int

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def path(cls) -> str | None:
        """Return where the server's program is; None when it is not installed."""
        return shutil.which(cls.program) or shutil.which(
            cls.program, path="/usr/sbin:/usr/local/sbin"
        )

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start the server and wait until it listens."""
        program = self.path()
        if program is None:
            raise FileNotFoundError(f"{self.program} is not installed")
        log = self.directory / f"{self.program}.log"
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [program, *self.command()], stdout=stream, stderr=stream
            )
        try:
            wait_until(self._listens, what=f"{self.program}, see {log},")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server, hard."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    @property
    def pid(self) -> int:
        """Number of the running process."""
        assert self._process is not None, "not running"
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _listens(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"{self.program} ended at once: see {self.directory}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class MosquittoBroker(_Server):
    """A real MQTT broker.

    Parameters
    ----------
    directory
        For its files.
    users
        Names and passwords; empty: everybody may log in.
    settings
        More lines for its configuration file (mosquitto.conf(5)), after the listener.
    """

    program = "mosquitto"

    def __init__(
        self,
        directory: Path,
        users: dict[str, str] | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.users = users or {}
        self.settings = settings

    def command(self) -> list[str]:
        """Write the configuration and return the arguments."""
        lines = [
            # As root it would otherwise change to a user who cannot read the files.
            f"user {getpass.getuser()}",
            f"listener {self.port} 127.0.0.1",
            *self.settings,
        ]
        if self.users:
            passwords = self.directory / "passwords"
            passwords.touch(0o600)
            for name, password in self.users.items():
                subprocess.run(
                    ["mosquitto_passwd", "-b", passwords, name, password],
                    check=True,
                    capture_output=True,
                )
            lines += ["allow_anonymous false", f"password_file {passwords}"]
        else:
            lines.append("allow_anonymous true")
        file = self.directory / "mosquitto.conf"
        file.write_text("\n".join(lines) + "\n")
        return ["-c", str(file)]


class RedisServer(_Server):
    """A real Redis, in memory only."""

    program = "redis-server"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        """Return the arguments."""
        directory = str(self.directory)
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": directory}
        options |= {"save": "", "appendonly": "no"}
        return [part for key, value in options.items() for part in (f"--{key}", value)]


@dataclass(frozen=True)
class ReceivedMessage:
    """A message as a subscriber got it."""

    topic: str
    payload: bytes
    properties: dict[str, str]
    """MQTT 5 user properties."""


class MQTTSubscriber:
    """Keeps what is published on a broker, under every topic."""

    def __init__(
        self, port: int, username: str | None = None, password: str | None = None
    ) -> None:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.received: list[ReceivedMessage] = []
        self._ready = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        if username is not None:
            self._client.username_pw_set(username, password)
        self._client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]  # floats work
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _client, _data, m: self._keep(m)
        self._client.connect("127.0.0.1", port)

    def _keep(self, message: Any) -> None:
        pairs = getattr(message.properties, "UserProperty", [])
        self.received.append(
            ReceivedMessage(message.topic, message.payload, dict(pairs))
        )

    def __enter__(self) -> Self:
        self._client.loop_start()
        if not self._ready.wait(10):
            raise TimeoutError("the broker did not take the subscription")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
