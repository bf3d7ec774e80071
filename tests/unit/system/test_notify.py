"""The service manager hears what sd_notify(3) says it should."""

from __future__ import annotations

import os
import socket

import pytest

from acoupi.system.notify import ServiceNotifier


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.settimeout(5)
        yield server


def hear(manager):
    return manager.recv(4096).decode()


def test_ready_status_and_stopping_are_sent(manager):
    notifier = ServiceNotifier({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("working")
    assert hear(manager) == "READY=1\nSTATUS=working"
    notifier.status("looking")
    assert hear(manager) == "STATUS=looking"
    notifier.stopping()
    assert hear(manager) == "STOPPING=1"


def test_an_abstract_socket_is_reached():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"\0acoupi-test-{os.getpid()}")
        server.settimeout(5)
        ServiceNotifier({"NOTIFY_SOCKET": f"@acoupi-test-{os.getpid()}"}).stopping()
        assert hear(server) == "STOPPING=1"


def test_signs_of_life_are_frequent_enough_and_not_more(manager):
    now = [0.0]
    notifier = ServiceNotifier(
        {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "2000000"},
        clock=lambda: now[0],
    )
    assert notifier.watchdog == 2.0
    for _ in range(41):
        notifier.alive()
        now[0] += 0.1
    heard = []
    manager.setblocking(False)
    while True:
        try:
            heard.append(hear(manager))
        except BlockingIOError:
            break
    assert set(heard) == {"WATCHDOG=1"}
    # At least twice in each two seconds, at most at every half.
    assert 4 <= len(heard) <= 9


def test_another_process_watchdog_is_not_ours():
    assert ServiceNotifier({"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}).watchdog is None
    own = {"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(os.getpid())}
    assert ServiceNotifier(own).watchdog == 5.0


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nowhere/socket"}])
def test_without_a_manager_nothing_happens(environment):
    notifier = ServiceNotifier(environment)
    notifier.ready("working")
    notifier.alive()
    notifier.stopping()
