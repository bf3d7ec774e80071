"""QEMU's own control of a virtual machine (QMP)."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from machine import MachineError


class MonitorError(MachineError):
    """QEMU did not do what was asked of it."""


class Monitor:
    """A connection to QEMU's monitor.

    Parameters
    ----------
    path : Path
        Its socket.
    timeout : float
        Seconds that it may take to appear, and to answer.
    """

    def __init__(self, path: Path, timeout: float = 30.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise MonitorError(f"no monitor: {error}") from error
                time.sleep(0.02)
        self._lines = self._socket.makefile("r")
        self._read()
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Have QEMU do something; return its answer."""
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = self._read()
            if "error" in answer:
                raise MonitorError(f"{command}: {answer['error']['desc']}")
            # Events come in between.
            if "return" in answer:
                return answer["return"]

    def save(self, path: Path, timeout: float = 60.0) -> None:
        """Stop the machine and write its memory to a file; it is not to go on."""
        self.ask("stop")
        self.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.ask("migrate", uri=f"exec:cat >{path}")
        self._await("completed", timeout)

    def go_on(self, timeout: float = 60.0) -> None:
        """Let a machine go on whose memory was read from a file."""
        deadline = time.monotonic() + timeout
        while self.ask("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                raise MonitorError("the machine's memory was not read in time")
            time.sleep(0.05)
        self.ask("cont")

    def close(self) -> None:
        """End the connection."""
        self._lines.close()
        self._socket.close()

    def _await(self, status: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            found = self.ask("query-migrate")
            if found.get("status") == status:
                return
            if found.get("status") == "failed" or time.monotonic() > deadline:
                raise MonitorError(f"the machine's memory was not written: {found}")
            time.sleep(0.05)

    def _read(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except OSError as error:
            raise MonitorError(f"QEMU does not answer: {error}") from error
        if not line:
            raise MonitorError("QEMU is gone")
        answer: dict[str, Any] = json.loads(line)
        return answer
