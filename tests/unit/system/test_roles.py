"""Each role of a sensor loads what it needs and nothing else."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from celery import Celery

from acoupi.errors import ConfigurationError
from acoupi.programs import AcoupiWorker, WorkerConfig
from acoupi.system import Settings, get_celery_app, setup_program
from acoupi.system.roles import find_worker, main, run_worker
from acoupi.system.troubles import read_troubles

RECORD = """
import sys, time
import celery.apps.beat, celery.apps.worker, celery.concurrency.thread
import kombu.transport.redis
import acoupi.system.bootsteps, acoupi.system.roles, acoupi.system.scheduler
from acoupi.system import get_celery_app
app = get_celery_app()
program = app.acoupi_program
program.worker_started(["recording"])
deadline = time.monotonic() + 30
while not program.store.get_recordings() and time.monotonic() < deadline:
    time.sleep(0.05)
    app.tasks["recording_task"]()
program.worker_stopping(["recording"])
print(len(program.store.get_recordings()))
print("\\n".join(sys.modules))
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("ACOUPI_HOME", str(home))
    setup_program(
        Settings(),
        "acoupi.programs.default",
        {
            "microphone": {"source": "signal"},
            "recording": {
                "duration": 0.5,
                "interval": 0,
                "schedule_start": "00:00",
                "schedule_end": "00:00",
            },
            "paths": {"tmp_audio": str(tmp_path / "audio")},
        },
    )
    return home


def test_the_recording_worker_loads_neither_numpy_nor_a_command_line(home):
    result = subprocess.run(
        [sys.executable, "-c", RECORD], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    count, *modules = result.stdout.splitlines()
    assert int(count) > 0
    unwanted = {"numpy", "soundfile", "celery.bin", "prompt_toolkit", "pygments"}
    unwanted |= {"astral", "httpx", "paho", "jinja2", "rich"}
    assert unwanted & set(modules) == set()


def test_a_worker_is_found_by_its_name(home):
    app = get_celery_app()
    expected = AcoupiWorker(name="recording", queues=["recording"], concurrency=1)
    assert find_worker(app, "recording") == expected
    with pytest.raises(ConfigurationError, match="'x': the program has recording"):
        find_worker(app, "x")


def test_what_a_person_did_wrong_is_said_without_a_traceback(home, capsys):
    assert main(["worker", "x"]) == 2
    assert capsys.readouterr().err == (
        "there is no worker 'x': the program has recording, default\n"
    )
    (home / "config" / "program.json").write_text(json.dumps({"timezone": 3}))
    assert main(["beat"]) == 2
    assert "timezone" in capsys.readouterr().err


class Program:
    """Notes what is asked of it, and raises what it is given."""

    def __init__(self, raises: BaseException | None = None):
        self.raises = raises
        self.asked: list[str] = []

    def get_worker_config(self):
        return WorkerConfig(workers=[AcoupiWorker(name="first")])

    def worker_started(self, queues):
        self.asked.append(f"start {queues}")
        if self.raises is not None:
            raise self.raises

    def worker_stopping(self, queues):
        self.asked.append(f"stop {queues}")


@pytest.fixture
def loggers():
    """Loggers that lose again what listens to them."""
    kept = {
        logger: list(logger.handlers)
        for logger in (logging.getLogger(), logging.getLogger("celery.task"))
    }
    yield
    for logger, handlers in kept.items():
        logger.handlers[:] = handlers


def run_with(program: Program, settings: Settings, pool: str = "threads") -> int:
    """Run a worker whose Celery's part ends at once."""
    app = Celery("test", set_as_current=False)
    app.conf.update(worker_pool=pool)
    app.log = SimpleNamespace(setup_logging_subsystem=lambda **_: None)
    app.acoupi_program, app.acoupi_settings = program, settings

    def make_worker(**_):
        program.asked.append("Celery's worker")
        return SimpleNamespace(start=lambda: None, exitcode=0)

    app.Worker = make_worker
    return run_worker(app, AcoupiWorker(name="recording", queues=["recording"]))


@pytest.mark.usefixtures("loggers")
def test_recording_does_not_wait_for_celery(home):
    program = Program()
    assert run_with(program, Settings()) == 0
    assert program.asked == ["start ['recording']", "Celery's worker"]


def test_a_recording_worker_is_not_copied_into_a_pool_of_processes(home):
    program = Program()
    assert run_with(program, Settings(), pool="prefork") == 0
    assert program.asked == ["Celery's worker"]


@pytest.mark.usefixtures("loggers")
@pytest.mark.parametrize("raises", [ValueError("no microphone"), SystemExit(0)])
def test_a_worker_whose_program_cannot_begin_fails_and_says_why(home, raises):
    program = Program(raises)
    assert run_with(program, Settings()) == 1
    assert program.asked == ["start ['recording']", "stop ['recording']"]
    troubles = [it["text"] for it in read_troubles(Settings().run_dir)]
    assert any("worker_started failed" in it for it in troubles), troubles


def test_a_role_is_required(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "usage" in capsys.readouterr().err


def test_roles_run_with_what_the_environment_names(home):
    environment = {**os.environ, "ACOUPI_HOME": str(home / "elsewhere")}
    result = subprocess.run(
        [sys.executable, "-m", "acoupi.system.roles", "beat"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "no program is set up" in result.stderr
