"""A broker that hangs, with the real server: it is ended, and nothing else ever is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket as sockets
import threading
from dataclasses import replace

import pytest

from acoupi.system import broker_watchdog
from acoupi.system.broker import Broker, answers, find_server
from acoupi.system.broker_watchdog import BrokerWatchdog, Server, find_listener
from acoupi.testing import wait_until

if find_server() is None:
    pytest.skip("no Redis-compatible server is installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(broker_watchdog, "ANSWER_TIME", 0.2)
    monkeypatch.setattr(broker_watchdog, "PERIOD", 0.05)


@pytest.fixture
def broker(tmp_path):
    with Broker(tmp_path / "broker.sock") as broker:
        yield broker


@contextlib.contextmanager
def hanging(broker: Broker):
    pid = broker.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_server_is_told_from_outside(broker):
    server = Server(broker.pid or 0, os.geteuid(), answers=True)
    assert find_listener(broker.socket) == server
    with hanging(broker):
        assert find_listener(broker.socket) == Server(
            server.pid, server.user, answers=False
        )
    broker.stop()
    assert find_listener(broker.socket) is None


def test_a_broker_that_hangs_is_ended_and_another_takes_its_place(broker, caplog):
    watchdog = BrokerWatchdog(broker.socket)
    watchdog.start()
    try:
        with hanging(broker) as former:
            wait_until(lambda: not broker.alive)
        assert f"process {former}" in caplog.text
        # Started anew by whoever keeps the sensor's processes, beside a stale socket.
        broker.start()
        assert answers(broker.socket)
        assert broker.pid != former
    finally:
        watchdog.stop()


def test_a_broker_that_was_only_slow_is_left_alone(broker):
    watchdog = BrokerWatchdog(broker.socket)
    for _ in range(2):
        with hanging(broker):
            for _ in range(broker_watchdog.QUESTIONS - 1):
                watchdog.look()
        watchdog.look()
    assert broker.alive


def test_a_broker_that_started_meanwhile_gets_its_own_time(tmp_path, monkeypatch):
    ended: list[int] = []
    monkeypatch.setattr(broker_watchdog, "_end", ended.append)
    found: list[Server] = []
    watchdog = BrokerWatchdog(tmp_path, find=lambda _: found[0])
    for pid in (1000, 1001):
        found[:] = [Server(pid, os.geteuid(), answers=False)]
        for _ in range(broker_watchdog.QUESTIONS - 1):
            watchdog.look()
    assert ended == []
    watchdog.look()
    assert ended == [1001]


@pytest.mark.parametrize(
    "server",
    [
        Server(4711, os.geteuid() + 1, answers=False),
        Server(0, os.geteuid(), answers=False),
        Server(1, os.geteuid(), answers=False),
    ],
    ids=["of another user", "not seen from here", "the first process"],
)
def test_what_is_not_ours_is_never_ended(tmp_path, monkeypatch, server):
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    watchdog = BrokerWatchdog(tmp_path, find=lambda _: server)
    for _ in range(2 * broker_watchdog.QUESTIONS):
        watchdog.look()
    assert killed == []


def test_who_cannot_ask_now_asks_again(tmp_path):
    asked: list[int] = []
    again = threading.Event()

    def find(_):
        asked.append(1)
        if len(asked) > 1:
            again.set()
        raise OSError(24, "Too many open files")

    watchdog = BrokerWatchdog(tmp_path, find=find)
    watchdog.start()
    assert again.wait(10)
    watchdog.stop()


def test_a_server_that_hangs_up_does_not_hang(tmp_path):
    path = tmp_path / "socket"
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        own = Server(os.getpid(), os.geteuid(), answers=False)
        assert find_listener(path) == own
        listener.accept()[0].close()

        def hang_up() -> None:
            listener.accept()[0].close()

        taking = threading.Thread(target=hang_up)
        taking.start()
        assert find_listener(path) == replace(own, answers=True)
        taking.join()
