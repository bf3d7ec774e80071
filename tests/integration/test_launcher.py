"""The launcher, with roles that are small processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from acoupi.errors import AcoupiError
from acoupi.system import launcher as module
from acoupi.system.broker import Broker, find_server
from acoupi.system.launcher import Launcher, LauncherLock, backoff, trim_log
from acoupi.system.notify import ServiceNotifier
from acoupi.system.processes import forked_role, spawned_role

# The tests act on the launcher from a thread while it forks; on a sensor it has none.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)

WRITE_AND_WAIT = (
    "import os,sys,time,pathlib;"
    "p=pathlib.Path(sys.argv[1]);p.open('a').write(f'{os.getpid()}\\n');"
    "print('hello', flush=True);time.sleep(60)"
)


def wait_until(condition, timeout=15.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def pids_in(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


def role_that_waits(tmp_path, name="waiting"):
    started = tmp_path / f"{name}.pids"
    role = spawned_role(
        name,
        [sys.executable, "-c", WRITE_AND_WAIT, str(started)],
        tmp_path / f"{name}.log",
    )
    return role, started


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(module, "FIRST_DELAY", 0.05)
    monkeypatch.setattr(module, "ROUND", 0.05)


def run_with(launcher: Launcher, actor):
    """Run the launcher here while `actor` acts on it from a thread, then stops it."""
    problems = []

    def act():
        try:
            actor()
        except BaseException as problem:  # noqa: BLE001 - raised below, in the test
            problems.append(problem)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=act)
    thread.start()
    launcher.run()
    thread.join()
    if problems:
        raise problems[0]


def test_a_signal_ends_every_role_and_handlers_are_restored(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    roles, files = zip(
        role_that_waits(tmp_path, "one"), role_that_waits(tmp_path, "two"), strict=True
    )
    run_with(
        Launcher(roles),
        lambda: [wait_until(lambda file=file: pids_in(file)) for file in files],
    )
    for file in files:
        assert not is_alive(pids_in(file)[0])
    assert signal.getsignal(signal.SIGINT) is before
    assert (tmp_path / "one.log").read_text() == "hello\n"


def test_a_role_that_is_killed_is_started_again_and_the_person_is_told(tmp_path):
    role, file = role_that_waits(tmp_path)
    told = []
    launcher = Launcher([role], report=told.append)

    def act():
        wait_until(lambda: pids_in(file))
        os.kill(pids_in(file)[0], signal.SIGKILL)
        wait_until(lambda: len(pids_in(file)) == 2)

    run_with(launcher, act)
    assert launcher.restarts == 1
    assert "waiting was ended by SIGKILL" in told[0]
    assert str(tmp_path / "waiting.log") in told[0]


def test_a_role_that_ends_itself_again_and_again_waits_longer_each_time(tmp_path):
    role = spawned_role(
        "ending", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path / "log"
    )
    told = []
    run_with(
        Launcher([role], report=told.append), lambda: wait_until(lambda: len(told) > 2)
    )
    assert "ending ended with code 3" in told[0]
    assert role.failures >= 3


def test_backoff_doubles_up_to_a_bound(monkeypatch):
    monkeypatch.undo()
    assert [backoff(n) for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert backoff(10**6) == 60


def test_a_role_that_does_not_end_is_killed_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STOP_TIMEOUT", 0.5)
    started = tmp_path / "pid"
    code = (
        "import os,signal,sys,time,pathlib;"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path(sys.argv[1]).write_text(str(os.getpid()));time.sleep(60)"
    )
    role = spawned_role(
        "stubborn", [sys.executable, "-c", code, str(started)], tmp_path / "log"
    )
    told = []
    run_with(
        Launcher([role], report=told.append),
        lambda: wait_until(lambda: pids_in(started)),
    )
    assert not is_alive(pids_in(started)[0])
    assert told[-1] == "stubborn does not end: killing it"


@pytest.mark.skipif(find_server() is None, reason="no Redis-compatible server")
def test_the_broker_is_started_again_and_ends_last(tmp_path):
    broker = Broker(tmp_path / "run" / "broker.sock")
    broker.start()
    role, file = role_that_waits(tmp_path)
    told = []

    def act():
        wait_until(lambda: pids_in(file))
        former = broker.pid
        os.kill(former, signal.SIGKILL)
        wait_until(lambda: broker.pid not in {None, former})

    run_with(Launcher([role], broker, report=told.append), act)
    assert any("broker" in line for line in told)
    assert not broker.alive


def test_the_viewer_ends_after_the_others_so_that_it_sees_all(tmp_path):
    role, file = role_that_waits(tmp_path)
    seen = tmp_path / "seen"

    def look():
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        (tmp_path / "looking").touch()
        ended.wait(60)
        seen.write_text(str(any(is_alive(pid) for pid in pids_in(file))))

    viewer = forked_role("view", look, None, lambda: None, restart=False)

    def act():
        wait_until(lambda: pids_in(file) and (tmp_path / "looking").exists())

    run_with(Launcher([role], viewer=viewer), act)
    assert seen.read_text() == "False"


def test_the_closing_role_runs_once_between_the_others_and_the_viewer(tmp_path):
    role, file = role_that_waits(tmp_path)
    order = tmp_path / "order"

    def note(what):
        with order.open("a") as out:
            out.write(f"{what} {any(is_alive(pid) for pid in pids_in(file))}\n")

    def look():
        ended = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
        ended.wait(60)
        note("view")

    viewer = forked_role("view", look, None, lambda: None, restart=False)
    closing = forked_role(
        "closing", lambda: note("closing"), None, lambda: None, restart=False
    )
    run_with(
        Launcher([role], viewer=viewer, closing=closing),
        lambda: wait_until(lambda: pids_in(file)),
    )
    assert order.read_text() == "closing False\nview False\n"


@pytest.mark.parametrize("kind", ["forked", "spawned"])
def test_roles_end_when_the_launcher_is_killed_outright(tmp_path, kind):
    started = tmp_path / "started.pids"
    role = {
        "spawned": f"spawned_role('r', [sys.executable, '-c', {WRITE_AND_WAIT!r},"
        f" {str(started)!r}], Path({str(tmp_path / 'log')!r}))",
        "forked": "forked_role('r', body, None, lambda: None)",
    }[kind]
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from acoupi.system.launcher import Launcher\n"
        "from acoupi.system.processes import forked_role, spawned_role\n"
        "def body():\n"
        f"    Path({str(started)!r}).write_text(str(os.getpid()))\n"
        "    time.sleep(60)\n"
        f"Launcher([{role}]).run()\n"
    )
    launcher = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    try:
        wait_until(lambda: pids_in(started))
    finally:
        os.kill(launcher, signal.SIGKILL)
        os.waitpid(launcher, 0)
    wait_until(lambda: not is_alive(pids_in(started)[0]))


def test_a_fork_that_raises_writes_its_traceback_to_its_log_only(tmp_path, capfd):
    def body():
        raise RuntimeError("inside the role")

    log = tmp_path / "role.log"
    role = forked_role("role", body, log, lambda: None)
    role.launch()
    _, status = os.waitpid(role.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert "inside the role" in log.read_text()
    assert capfd.readouterr().err == ""


def test_the_service_manager_hears_of_start_life_and_end(tmp_path):
    path = tmp_path / "notify"
    role, file = role_that_waits(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(5)
        notifier = ServiceNotifier({"NOTIFY_SOCKET": str(path)})
        run_with(
            Launcher([role], notifier=notifier),
            lambda: wait_until(lambda: pids_in(file)),
        )
        heard = [manager.recv(1000).decode() for _ in range(3)]
    assert heard[0].startswith("READY=1")
    assert heard[1] == "WATCHDOG=1"
    assert heard[-1] in {"WATCHDOG=1", "STOPPING=1"}


def test_one_launcher_at_a_time_runs_a_home(tmp_path):
    path = tmp_path / "run" / "launcher.lock"
    with (
        LauncherLock(path),
        pytest.raises(AcoupiError, match=f"process {os.getpid()}"),
        LauncherLock(path),
    ):
        pass
    with LauncherLock(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_logs_are_trimmed_without_disturbing_the_writer(tmp_path):
    log = tmp_path / "role.log"
    with log.open("a", buffering=1) as writer:
        writer.write("x" * 100)
        writer.flush()
        trim_log(log, largest=50)
        assert log.stat().st_size == 0
        assert (tmp_path / "role.log.1").stat().st_size == 100
        writer.write("after\n")
    assert log.read_text() == "after\n"
    trim_log(log, largest=50)
    assert log.read_text() == "after\n"
    trim_log(tmp_path / "missing.log")
