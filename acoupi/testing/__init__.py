"""Fakes and fixtures for authors of programs and components.

Fakes stand for a component and keep what they were given. Servers are real: an HTTP
server in this process, and `mosquitto` and `redis-server` when they are installed.

The pytest fixtures ``http_sink``, ``mosquitto_broker`` and ``redis_server`` are at hand
after ``pytest_plugins = ["acoupi.testing"]`` in the ``conftest.py`` at the top. One
whose server is not installed skips the test and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acoupi.testing.fakes import (
    FakeMessageStore,
    FakeMessenger,
    FakeModel,
    FakeRecorder,
    make_deployment,
    make_model_output,
    make_recording,
)
from acoupi.testing.http import HTTPSink, ReceivedRequest
from acoupi.testing.microphone import VirtualMicrophone
from acoupi.testing.servers import (
    MosquittoBroker,
    MQTTSubscriber,
    ReceivedMessage,
    RedisServer,
)
from acoupi.testing.waiting import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "FakeMessageStore",
    "FakeMessenger",
    "FakeModel",
    "FakeRecorder",
    "HTTPSink",
    "MQTTSubscriber",
    "MosquittoBroker",
    "ReceivedMessage",
    "ReceivedRequest",
    "RedisServer",
    "VirtualMicrophone",
    "free_port",
    "http_sink",
    "make_deployment",
    "make_model_output",
    "make_recording",
    "mosquitto_broker",
    "redis_server",
    "wait_until",
]


@pytest.fixture
def http_sink() -> Iterator[HTTPSink]:
    """Run an HTTP server that keeps what it gets."""
    with HTTPSink() as sink:
        yield sink


@pytest.fixture
def mosquitto_broker(tmp_path: Path) -> Iterator[MosquittoBroker]:
    """Run an MQTT broker that lets everybody in."""
    if MosquittoBroker.path() is None:
        pytest.skip("mosquitto is not installed")
    with MosquittoBroker(tmp_path) as broker:
        yield broker


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis."""
    if RedisServer.path() is None:
        pytest.skip("redis-server is not installed")
    with RedisServer(tmp_path) as server:
        yield server
