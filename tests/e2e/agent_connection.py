"""The way to the program that runs commands inside a virtual machine."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import queue
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from machine import MachineError


class AgentConnection:
    """The way to a machine's `agent.AGENT`.

    Parameters
    ----------
    process : Popen
        The machine.
    path : Path
        The socket at which QEMU has the agent's port.
    deadline : float
        Until when QEMU has to have made it, on the monotonic clock.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], path: Path, deadline: float
    ) -> None:
        self._numbers = itertools.count()
        self._waiting: dict[int, queue.Queue[dict[str, Any] | None]] = {}
        self._hello: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._gone = False
        self._socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise MachineError("QEMU does not run") from error
                time.sleep(0.02)
        self._reader = threading.Thread(target=self._read, name="agent", daemon=True)
        self._reader.start()

    def hello(self, deadline: float) -> dict[str, Any] | None:
        """Return what the agent says when it starts, None when it does not start."""
        try:
            return self._hello.get(timeout=max(0.1, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def execute(
        self, command: str, timeout: float | None, given: bytes
    ) -> tuple[int | None, bytes]:
        """Run a command; the code is None when it did not end in time.

        What is given to it comes from its standard input.
        """
        number = next(self._numbers)
        answers: queue.Queue[dict[str, Any] | None] = queue.Queue()
        request = {
            "id": number,
            "command": command,
            "timeout": timeout,
            "input": base64.b64encode(given).decode(),
        }
        with self._lock:
            if self._gone:
                raise MachineError("the machine is gone")
            self._waiting[number] = answers
            try:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
            except OSError as error:
                raise MachineError("the machine is gone") from error
        try:
            # The machine is slow, and answers even when the command does not end.
            answer = answers.get(timeout=None if timeout is None else timeout + 30)
        except queue.Empty:
            return None, b""
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if answer is None:
            raise MachineError(f"the machine went away during `{command}`")
        return answer["code"], base64.b64decode(answer["output"])

    def close(self) -> None:
        """Forget the machine."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._reader.join(5)

    def _read(self) -> None:
        buffer = b""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 16):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    if "hello" in answer:
                        self._hello.put(answer)
                        continue
                    with self._lock:
                        waiting = self._waiting.get(answer["id"])
                    if waiting is not None:
                        waiting.put(answer)
        with self._lock:
            self._gone = True
            self._hello.put(None)
            for waiting in self._waiting.values():
                waiting.put(None)
