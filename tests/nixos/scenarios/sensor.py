"""A sensor as the scenarios see it: a machine, its services, its database, a listener.

The machine is one of NixOS' test driver, or of ``tests/e2e/machine.py``.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

Result = TypeVar("Result")

MESSAGES = "/var/lib/listener/messages"
"""What arrived at the MQTT broker, one JSON document a line."""


@dataclass
class Sensor:
    """A sensor under test.

    Parameters
    ----------
    machine
        The machine it runs on.
    server
        The machine on which an MQTT broker and a listener run; may be the same.
    play : str
        Command that plays the sound file named after it to the microphone.
    home : str
        The sensor's ``ACOUPI_HOME``.
    user : str
        Whom the home belongs to, and the name of its group.
    broker : str
        The service of the queue.
    """

    machine: Any
    server: Any
    play: str
    home: str = "/var/lib/acoupi"
    user: str = "root"
    broker: str = "acoupi-broker.service"
    listening: str = ""
    """What listened on the network before the sensor was started (``ss -Hlntu``)."""

    @property
    def database(self) -> str:
        """Path of the database."""
        return f"{self.home}/data/acoupi.db"

    def acoupi(self, *arguments: str) -> str:
        """Run the command line as root; it must succeed."""
        # Starting and stopping wait for the services, on a busy machine for long.
        return str(self.machine.succeed(self._command(*arguments), timeout=180))

    def as_owner(self, *words: str) -> str:
        """Return a command line that runs a command as the sensor's user."""
        switch = [] if self.user == "root" else ["setpriv", "--init-groups"]
        if switch:
            switch += [f"--reuid={self.user}", f"--regid={self.user}", "--"]
        return shlex.join([*switch, *words])

    def status(self) -> dict[str, Any]:
        """Return what ``acoupi status`` says."""
        found: dict[str, Any] = json.loads(self.acoupi("status", "--json"))
        return found

    def is_recording(self) -> bool:
        """Tell whether sound is recorded, from the outside."""
        recorder = self.status()["recorder"]
        return bool(recorder and recorder["current"] and recorder["capturing"])

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Ask the database; the sensor has to be running."""
        # As its owner: files that are made meanwhile must not be another's.
        command = self.as_owner(
            *("sqlite3", "-readonly", "-json", "-cmd", ".timeout 10000"),
            *(self.database, sql),
        )
        text = self.machine.succeed(command)
        return json.loads(text) if text.strip() else []

    def count(self, table: str, where: str = "1") -> int:
        """Count rows of a table of the database."""
        rows = self.query(f"SELECT count(*) AS n FROM {table} WHERE {where}")
        return int(rows[0]["n"])

    def look_after_files(self) -> None:
        """Have the sensor decide on files now, rather than within half a minute."""
        self.acoupi("task", "run", "file_management_task")

    def received(self) -> list[dict[str, Any]]:
        """Return the messages that arrived, in their order."""
        # A line that is being written is no message yet.
        text: str = self.server.succeed(f"cat {MESSAGES} 2>/dev/null || true")
        return [json.loads(line) for line in text.splitlines(keepends=True)[:-1]]

    def received_recordings(self) -> list[str]:
        """Return the recordings whose detections arrived, in their order."""
        return [
            message["recording"]["id"]
            for message in self.received()
            if "detections" in message
        ]

    def play_sound(self, file: str) -> None:
        """Play a sound file of this host to the microphone, again and again."""
        self.machine.copy_from_host(file, "/run/sound.wav")
        command = f"while :; do {self.play} /run/sound.wav || sleep 1; done"
        self.machine.succeed(
            "systemd-run --quiet --collect --unit=playing "
            f"$(command -v bash) -c {shlex.quote(command)}"
        )

    def services(self) -> list[str]:
        """Return the names of the services that run for ever."""
        wanted = self.show("acoupi.target", "Wants").split()
        units = sorted({it for it in wanted if it.endswith(".service")} | {self.broker})
        # An answer for each, with an empty line between two.
        restarts = self.show(" ".join(units), "Restart").split("\n\n")
        return [
            unit
            for unit, restart in zip(units, restarts, strict=True)
            if restart == "always"
        ]

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return str(
            self.machine.succeed(f"systemctl show --value --property={name} {unit}")
        ).strip()

    def is_back(self, unit: str, former: str) -> bool:
        """Tell whether a service runs, in another process than the former."""
        return self.show(unit, "ActiveState") == "active" and self.show(
            unit, "MainPID"
        ) not in {former, "0"}

    def _command(self, *arguments: str) -> str:
        return shlex.join(["env", f"ACOUPI_HOME={self.home}", "acoupi", *arguments])


def eventually(what: str, ask: Callable[[], Result], timeout: float = 60.0) -> Result:
    """Ask until the answer is true (not empty, not zero), and return it.

    Raises
    ------
    AssertionError
        When it is not within ``timeout`` seconds; says what was waited for.
    """
    deadline = time.monotonic() + timeout
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.3)
