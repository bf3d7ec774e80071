"""The generated scripts start, stop and restart the processes of one home only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from acoupi.system import Settings
from acoupi.system.rendering import render_home

WORKERS = ["recording", "default"]

# Stands for the interpreter: it is called, and seen in /proc, as the real one is.
STAND_IN = """#!/usr/bin/env bash
echo "$0 $* home=$ACOUPI_HOME bytecode=$PYTHONDONTWRITEBYTECODE"
if [[ "$*" == *system.broker* ]]; then
    cd "$(dirname "$3")" && exec -a redis-server sleep 300
fi
if [[ -e "$ACOUPI_HOME/fail" ]]; then echo "cannot start" >&2; exit 3; fi
if [[ -e "$ACOUPI_HOME/stubborn" ]]; then trap '' TERM; fi
while true; do sleep 0.1; done
"""


@pytest.fixture
def settings(tmp_path):
    """A home whose scripts run a stand-in; what they started is ended."""
    python = tmp_path / "a python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    settings = Settings(tmp_path / "the home's")
    for name, text in render_home(
        settings, WORKERS, python=python, embedded_broker=True
    ).items():
        path = settings.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("patience=40", "patience=1"))
        path.chmod(0o755)
    yield settings
    for pid in pids(settings).values():
        kill(pid, signal.SIGKILL)


def kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def pids(settings: Settings) -> dict[str, int]:
    found = {}
    for file in settings.run_dir.glob("*.pid"):
        # A process that ends or starts removes its file, or has yet to fill it.
        with contextlib.suppress(FileNotFoundError, ValueError):
            found[file.stem] = int(file.read_text())
    return found


def alive(pid: int) -> bool:
    try:
        # A zombie has no command line.
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize("home", ["/var/lib/acoupi", "/a b/c'd\"e"])
def test_shellcheck_finds_nothing_to_say(tmp_path, embedded, home):
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    files = []
    for name, text in render_home(
        Settings(home),
        WORKERS,
        python=Path("/usr/bin/python3"),
        embedded_broker=embedded,
    ).items():
        if name.endswith(".sh"):
            files.append(tmp_path / Path(name).name)
            files[-1].write_text(text)
    done = subprocess.run(
        ["shellcheck", *files],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_without_argument_all_processes_start_in_the_background(settings):
    done = run(settings.start_script)
    assert done.returncode == 0, done.stdout + done.stderr
    running = pids(settings)
    assert set(running) == {"broker", "worker-recording", "worker-default", "beat"}
    assert all(alive(pid) for pid in running.values())


def test_processes_know_their_home_and_write_to_its_log(settings):
    run(settings.start_script)
    log = settings.log_dir / "worker-recording.log"
    until(
        lambda: (
            log.exists() and "acoupi.system.roles worker recording" in log.read_text()
        )
    )
    assert f"home={settings.home} bytecode=1" in log.read_text()


def test_starting_again_starts_nothing_twice(settings):
    run(settings.start_script)
    before = pids(settings)
    done = run(settings.start_script)
    assert "runs already" in done.stdout
    assert pids(settings) == before


def test_stopping_ends_all_and_leaves_no_pid_file(settings):
    run(settings.start_script)
    before = pids(settings)
    done = run(settings.stop_script)
    assert done.returncode == 0
    assert not pids(settings)
    until(lambda: not any(alive(pid) for pid in before.values()))


def test_stopping_one_worker_leaves_the_others(settings):
    run(settings.start_script)
    before = pids(settings)
    run(settings.stop_script, "recording")
    after = pids(settings)
    assert set(before) - set(after) == {"worker-recording"}
    until(lambda: not alive(before["worker-recording"]))
    assert all(alive(pid) for pid in after.values())


def test_a_process_that_does_not_end_is_killed_and_named(settings):
    (settings.home / "stubborn").touch()
    run(settings.start_script)
    before = pids(settings)
    done = run(settings.stop_script)
    assert "did not end within" in done.stderr
    until(lambda: not any(alive(pid) for pid in before.values()))
    assert not pids(settings)


def test_restarting_replaces_every_process(settings):
    run(settings.start_script)
    before = pids(settings)
    done = run(settings.restart_script)
    assert done.returncode == 0, done.stdout + done.stderr
    after = pids(settings)
    assert set(after) == set(before)
    assert not set(after.values()) & set(before.values())


def test_stopping_what_does_not_run_is_no_error(settings):
    assert run(settings.stop_script).returncode == 0
    assert run(settings.stop_script, "default").returncode == 0


@pytest.mark.parametrize("argument", ["recording", "--beat", "--broker"])
def test_with_a_name_the_script_becomes_that_process(settings, argument):
    process = subprocess.Popen(
        [settings.start_script, argument], stdout=subprocess.DEVNULL
    )
    try:
        name = argument.removeprefix("--")
        name = name if argument.startswith("--") else f"worker-{name}"
        until(lambda: pids(settings).get(name) == process.pid)
    finally:
        process.terminate()
        # The stand-in has no handler: the signal reached it, not a shell above it.
        assert process.wait(20) == -signal.SIGTERM


def test_the_beat_script_becomes_beat(settings):
    process = subprocess.Popen([settings.beat_script], stdout=subprocess.DEVNULL)
    try:
        until(lambda: pids(settings).get("beat") == process.pid)
    finally:
        process.terminate()
        process.wait(20)


def test_restarting_with_a_name_becomes_that_worker(settings):
    run(settings.start_script)
    before = pids(settings)
    process = subprocess.Popen(
        [settings.restart_script, "default"], stdout=subprocess.DEVNULL
    )
    try:
        until(lambda: pids(settings).get("worker-default") == process.pid)
        assert not alive(before["worker-default"])
    finally:
        process.terminate()
        process.wait(20)


def test_a_second_process_of_a_role_is_refused(settings):
    run(settings.start_script)
    done = run(settings.start_script, "recording")
    assert done.returncode == 1
    assert "runs already" in done.stderr


@pytest.mark.parametrize(
    "arguments", [["nobody"], ["recording", "default"], ["--help"]]
)
def test_a_wrong_argument_is_answered_with_the_usage(settings, arguments):
    for script in (settings.start_script, settings.stop_script):
        done = run(script, *arguments)
        assert done.returncode == 2
        assert "usage" in done.stderr
        assert "recording default" in done.stderr


def test_a_process_that_ends_at_once_is_reported_with_its_log(settings):
    (settings.home / "fail").touch()
    done = run(settings.start_script)
    assert done.returncode == 1
    assert "worker-recording.log" in done.stderr
    assert "cannot start" in (settings.log_dir / "worker-recording.log").read_text()


def test_a_number_that_became_another_process_does_not_count(settings):
    settings.run_dir.mkdir(exist_ok=True)
    (settings.run_dir / "worker-recording.pid").write_text(f"{os.getpid()}\n")
    (settings.run_dir / "beat.pid").write_text("not a number\n")
    done = run(settings.stop_script)
    assert done.returncode == 0
    assert not pids(settings)
    assert run(settings.start_script).returncode == 0
    assert pids(settings)["worker-recording"] != os.getpid()


def test_processes_of_another_home_are_left_alone(settings, tmp_path):
    run(settings.start_script)
    other = tmp_path / "other"
    shutil.copytree(settings.home, other)
    for script in (other / "bin").iterdir():
        script.write_text(
            script.read_text().replace("the home", "other").replace("'\"'\"'s", "")
        )
    run(other / "bin/acoupi-workers-stop.sh")
    assert all(alive(pid) for pid in pids(settings).values())


def test_logs_are_bounded(settings):
    settings.start_script.write_text(
        settings.start_script.read_text().replace("log_limit=5000000", "log_limit=1000")
    )
    python = settings.home.parent / "a python"
    python.write_text(
        STAND_IN.replace("while true; do", "while true; do echo {1..50};")
    )
    run(settings.start_script)
    log = settings.log_dir / "beat.log"
    until((settings.log_dir / "beat.log.1").exists)
    until(lambda: log.exists() and log.stat().st_size > 0)
    assert log.stat().st_size < 2000
    assert {file.name for file in settings.log_dir.glob("beat*")} <= {
        "beat.log",
        "beat.log.1",
    }


def test_logging_goes_on_when_the_log_could_not_be_written_for_a_while(settings):
    python = settings.home.parent / "a python"
    python.write_text(STAND_IN.replace("while true; do", "while true; do echo tick;"))
    run(settings.start_script)
    log = settings.log_dir / "worker-default.log"
    until(log.exists)
    shutil.move(settings.log_dir, settings.home / "away")
    settings.log_dir.mkdir()
    until(log.exists)
    assert all(alive(pid) for pid in pids(settings).values())
