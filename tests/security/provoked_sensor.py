"""A sensor at work that is provoked, with a canary in the place of each secret.

All that can go wrong with a secret goes wrong: its receivers refuse it, one repeats it
in its answers.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import psutil
from configurations import gapless

from acoupi.system import Settings, setup_program
from acoupi.testing import HTTPSink, MosquittoBroker, RedisServer, free_port

CANARIES = {
    "HTTP password": "quokka velvet/é+91",
    "HTTP token": "Zephyr-Obelisk-72",
    "MQTT password": "mulberry & tundra 53",
    "broker's password": "Jackdaw:Gallium/34",
    "query": "falsetto-Wombat-15",
}


def forms(canary):
    """Yield the ways in which a secret may be written."""
    yield canary
    yield quote(canary, safe="")
    yield json.dumps(canary)[1:-1]
    encoded = canary.encode()
    for before in (b"", b"a", b"ab"):
        whole = base64.b64encode(before + encoded).decode()
        # What of it stands for the secret alone.
        yield whole[4 if before else 0 : len(before + encoded) // 3 * 4]


def leaks(text):
    return [
        kind
        for kind, canary in CANARIES.items()
        if any(form in text for form in forms(canary))
    ]


class Sensor:
    """The activity program in the foreground, with receivers that refuse it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = Settings(root / "home")
        self.metrics_port = free_port()
        self.metrics_socket = root / "home" / "run" / "metrics.sock"
        self.http = HTTPSink(judge=self._refuse)
        self.mqtt = MosquittoBroker(root, users={"wood": "another password"})
        self.redis = RedisServer(root)
        self.output = root / "output.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def _refuse(self, request):
        # As a careless server does: it repeats what it was sent.
        self.http.answer = json.dumps(request.headers).encode()
        return 401

    def start(self) -> None:
        self.http.start()
        self.mqtt.start()
        self.start_broker()
        setup_program(
            self.settings,
            "acoupi.programs.activity",
            {
                **gapless(self.root),
                "metrics": {
                    "port": self.metrics_port,
                    "socket": str(self.metrics_socket),
                },
                "messaging": {
                    "messages_db": str(self.root / "sensor.db"),
                    "message_send_interval": 1,
                    "http": {
                        "base_url": f"{self.http.url}?key={CANARIES['query']}",
                        "headers": {"X-Site": "pond"},
                        "token": CANARIES["HTTP token"],
                        "token_header": "X-Token",
                        "username": "wood",
                        "password": CANARIES["HTTP password"],
                    },
                    "mqtt": {
                        "host": "127.0.0.1",
                        "port": self.mqtt.port,
                        "username": "wood",
                        "password": CANARIES["MQTT password"],
                    },
                },
            },
            {"broker_url": self.broker_url, "log_level": "DEBUG"},
        )
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "acoupi.cli", "--debug", "run"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def broker_url(self) -> str:
        password = quote(CANARIES["broker's password"], safe="")
        return f"redis://:{password}@127.0.0.1:{self.redis.port}/0"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "ACOUPI_HOME": str(self.settings.home),
            "ACOUPI_TRACEBACK": "1",
        }

    def start_broker(self) -> None:
        import redis

        self.redis.start()
        with redis.Redis(port=self.redis.port) as client:
            client.config_set("requirepass", CANARIES["broker's password"])

    def processes(self):
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def logs(self) -> str:
        files = [self.output, *sorted(self.settings.log_dir.glob("*"))]
        return "\n".join(file.read_text(errors="replace") for file in files)

    def acoupi(self, *words) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "acoupi.cli", *words],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            timeout=200,
        )
        return done.stdout

    def recordings(self) -> int:
        assert self.process.poll() is None, self.logs()[-5000:]
        found = json.loads(self.acoupi("status", "--json"))
        return (found["store"] or {"recordings": 0})["recordings"]

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.redis.stop()
        self.mqtt.stop()
        self.http.stop()
