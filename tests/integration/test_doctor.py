"""A sensor that runs is examined: well, then with each fault done to its processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest
import redis
from configurations import gapless

from acoupi.system import CeleryConfig, Settings, setup_program
from acoupi.system.broker import find_server
from acoupi.system.doctor import Machine, examine
from acoupi.system.doctor.examination import load_probes
from acoupi.testing import wait_until

pytestmark = pytest.mark.skipif(
    find_server() is None, reason="no Redis-compatible server is installed"
)

REDIS = shutil.which("redis-server")


class Running:
    """A sensor in the background, and what an examination of it finds."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home)
        # The kernel's files of this machine tell of its other users, too.
        self.machine = Machine(home / "no-such-machine", clock_is_set=lambda: True)

    def find(self) -> dict[str, object]:
        found = examine(self.settings, self.machine).findings
        return {finding.code: finding for finding in found}

    def pid(self, role: str) -> int:
        return int((self.settings.run_dir / f"{role}.pid").read_text())

    def report(self) -> dict[str, object]:
        try:
            return json.loads((self.settings.run_dir / "recorder.json").read_text())
        except (OSError, ValueError):
            return {}

    def call(self, script: Path, *arguments: str) -> None:
        subprocess.run(
            [script, *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )


@pytest.fixture(scope="module")
def sensor(tmp_path_factory):
    home = tmp_path_factory.mktemp("doctor") / "home"
    running = Running(home)
    setup_program(
        running.settings,
        "acoupi.programs.default",
        # Long, so that few of them wait where nobody takes them for a while.
        gapless(home / "data", 5),
    )
    running.call(running.settings.start_script)
    try:
        wait_until(lambda: running.report().get("last_recording_on"), 60, "a recording")
        yield running
    finally:
        running.call(running.settings.stop_script)


def test_a_sensor_that_runs_has_no_faults(sensor):
    assert sensor.find() == {}


def test_nothing_is_left_by_an_examination(sensor):
    def names():
        return {
            path.relative_to(sensor.settings.home)
            for directory in (sensor.settings.home, sensor.settings.config_dir)
            for path in directory.iterdir()
        }

    before, config = names(), sensor.settings.program_file.read_bytes()
    sensor.find()
    assert names() == before
    assert sensor.settings.program_file.read_bytes() == config


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(
            lambda: (
                Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                == "T"
            ),
            what="the process to stop",
        )
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("role", ["beat", "worker-default"])
def test_a_process_that_is_stopped(sensor, role):
    with stopped(sensor.pid(role)):
        found = sensor.find()
    assert set(found) == {"process-stopped"}
    assert role in found["process-stopped"].evidence
    assert f"kill -CONT {sensor.pid(role)}" in found["process-stopped"].remedy


def test_a_broker_that_does_not_answer(sensor, monkeypatch):
    monkeypatch.setattr("acoupi.system.doctor.broker.PATIENCE", 0.5)
    with stopped(sensor.pid("broker")):
        assert set(sensor.find()) == {"process-stopped", "broker-down"}


def test_a_process_that_is_gone(sensor):
    os.kill(sensor.pid("beat"), signal.SIGKILL)
    try:
        wait_until(
            lambda: "process-gone" in sensor.find(), timeout=60, what="the finding"
        )
        found = sensor.find()
        assert set(found) == {"process-gone"}
        assert "beat" in found["process-gone"].evidence
    finally:
        sensor.call(sensor.settings.start_script)


def test_a_socket_of_the_broker_that_is_gone(sensor):
    path = sensor.settings.broker_socket
    aside = path.with_name("aside")
    path.rename(aside)
    try:
        found = sensor.find()
    finally:
        aside.rename(path)
    assert set(found) == {"broker-socket-missing"}
    assert str(path) in found["broker-socket-missing"].evidence


def test_a_configuration_that_the_processes_do_not_have_yet(sensor):
    file = sensor.settings.program_file
    before = file.stat()
    # Some seconds after the start; the clock of the file system is coarse.
    wait_until(lambda: time.time() > before.st_mtime + 12, timeout=30, what="time")
    os.utime(file)
    try:
        found = sensor.find()
    finally:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert set(found) == {"configuration-not-applied"}
    assert "acoupi restart" in found["configuration-not-applied"].remedy


def test_a_database_that_something_else_holds(sensor):
    path = sensor.settings.home / "data/sensor.db"
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as connection:
        connection.isolation_level = None
        connection.execute("BEGIN IMMEDIATE")
        # This process' own lock is not shown to itself.
        found = subprocess.run(
            ["acoupi", "doctor", "--json"],
            capture_output=True,
            check=False,
            env=os.environ | {"ACOUPI_HOME": str(sensor.settings.home)},
            executable=str(Path(os.sys.executable).with_name("acoupi")),
        )
        connection.execute("ROLLBACK")
    assert found.returncode == 1
    codes = {f["code"]: f for f in json.loads(found.stdout)["findings"]}
    assert str(os.getpid()) in codes["database-locked"]["evidence"]


# A broker of somebody else's.


@pytest.fixture
def redis_server(tmp_path):
    """Start Redis with options; its URL."""
    if REDIS is None:
        pytest.skip("redis-server is not installed")
    servers = []

    def start(*options):
        socket = tmp_path / "redis.sock"
        command = [REDIS, "--port", "0", "--unixsocket", str(socket)]
        command += ["--save", "", "--appendonly", "no", *options]
        servers.append(
            subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
        wait_until(socket.exists, what="redis")
        return f"redis+socket://{socket}"

    yield start
    for server in servers:
        server.terminate()
        server.wait(20)


@pytest.fixture
def find_broker(tmp_path, monkeypatch):
    """Set a sensor with this broker up, and say what is wrong with the broker."""
    monkeypatch.setattr("acoupi.system.liveness._managers", list)

    def find(url):
        settings = Settings(tmp_path / "home")
        setup_program(
            settings,
            "acoupi.programs.default",
            {"microphone": {"source": "signal"}},
            CeleryConfig(broker_url=url),
        )
        probes = {"broker": load_probes()["broker"]}
        found = examine(settings, None, probes).findings
        return {finding.code: finding for finding in found}

    return find


def test_a_broker_of_somebody_else_that_answers_is_well(redis_server, find_broker):
    assert find_broker(redis_server()) == {}


def test_a_broker_that_refuses_the_password(redis_server, find_broker):
    url = redis_server("--requirepass", "canary-right")
    for wrong in (url, url.replace("//", "//:canary-wrong@")):
        found = find_broker(wrong)
        assert set(found) == {"broker-refuses"}
        assert "canary" not in str(found)
    assert find_broker(url.replace("//", "//:canary-right@")) == {}


def redis_at(url):
    return redis.Redis(unix_socket_path=url.partition("//")[2])


def test_a_broker_whose_memory_is_used_up(redis_server, find_broker):
    url = redis_server("--maxmemory", "4mb", "--maxmemory-policy", "noeviction")
    full = contextlib.suppress(redis.exceptions.OutOfMemoryError)
    with redis_at(url) as client, full:
        for number in range(10_000):
            client.set(f"ballast {number}", bytes(1000))
    assert set(find_broker(url)) == {"broker-full"}


def test_tasks_that_nobody_takes(redis_server, find_broker):
    url = redis_server()
    with redis_at(url) as client:
        client.lpush("detection", *["task"] * 150)
        client.lpush("celery", *["task"] * 90)
    found = find_broker(url)
    assert set(found) == {"queue-not-served"}
    assert "150 in the queue 'detection'" in found["queue-not-served"].evidence


def test_a_broker_that_is_not_there(find_broker, tmp_path):
    found = find_broker("redis://me:canary@127.0.0.1:1/0")
    assert set(found) == {"broker-down"}
    assert "canary" not in str(found)
    assert set(find_broker(f"redis+socket://{tmp_path}/none")) == {
        "broker-socket-missing"
    }


def test_no_server_for_a_broker_of_ones_own(find_broker, monkeypatch):
    monkeypatch.setattr("acoupi.system.broker.find_server", lambda: None)
    found = find_broker(None)
    assert set(found) == {"broker-missing"}
    assert "redis-server" in found["broker-missing"].remedy
