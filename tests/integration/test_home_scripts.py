"""A sensor set up in a home and run by its own scripts, with everything real."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import time

import pytest

from acoupi.system import Settings, setup_program, status
from acoupi.system.health import is_recording


@pytest.fixture
def settings(tmp_path):
    if shutil.which("redis-server") is None and shutil.which("valkey-server") is None:
        pytest.skip("no redis-server or valkey-server is installed")
    settings = Settings(tmp_path / "home")
    setup_program(
        settings,
        "acoupi.programs.default",
        {
            "microphone": {"source": "signal", "samplerate": 16000},
            "recording": {
                "duration": 1,
                "interval": 1,
                "schedule_start": "00:00",
                "schedule_end": "00:00",
            },
            "paths": {"tmp_audio": str(tmp_path / "tmp")},
        },
    )
    yield settings
    run(settings.stop_script)


def run(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )


def until(condition, seconds: float, explain) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.2)


def logs(settings: Settings) -> str:
    return "\n".join(
        f"--- {log.name}\n{log.read_text()[-2000:]}"
        for log in sorted(settings.log_dir.glob("*.log"))
    )


def test_the_scripts_run_a_sensor_and_stop_it(settings):
    started = run(settings.start_script)
    assert started.returncode == 0, started.stdout + started.stderr

    def works() -> bool:
        found = status(settings)
        stored = (found["store"] or {}).get("recordings", 0)
        return is_recording(found) and stored >= 2

    until(works, 60, lambda: logs(settings))
    found = status(settings)
    assert found["kept_by"] == "scripts"
    assert {process["name"]: process["state"] for process in found["processes"]} == {
        "beat": "running",
        "broker": "running",
        "worker-default": "running",
        "worker-recording": "running",
    }
    stopped = run(settings.stop_script)
    assert stopped.returncode == 0
    assert "killed" not in stopped.stderr, stopped.stderr + logs(settings)
    found = status(settings)
    assert not found["running"]
    assert not list(settings.run_dir.glob("*.pid"))
    assert not settings.broker_socket.exists() or not found["kept_by"]


def test_a_disk_that_takes_no_pid_file_keeps_no_process_from_starting(settings):
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    pid_file = settings.run_dir / "worker-recording.pid"
    pid_file.mkdir()  # root is refused, too
    worker = subprocess.Popen(
        [str(settings.start_script), "recording"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        # It becomes the worker, in place of the script.
        until(
            lambda: (
                b"acoupi.system.roles"
                in pathlib.Path(f"/proc/{worker.pid}/cmdline").read_bytes()
            ),
            20,
            lambda: f"exit code {worker.poll()}",
        )
    finally:
        worker.kill()
        _, said = worker.communicate()
        pid_file.rmdir()
    assert "Is a directory" in said
