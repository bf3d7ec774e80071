"""A week without the server: nothing lost, nothing falsely sent, nothing unbounded.

Servers, connections and the database are real. Only time is short: the clocks that the
sending goes by are moved on by two minutes from run to run.
"""

from __future__ import annotations

import datetime
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from deliveries import Link, bodies, payloads

from acoupi import data
from acoupi.tasks import generate_send_messages_task, send
from acoupi.testing import FakeMessenger, HTTPSink, MQTTSubscriber, wait_until

RUN_EVERY = 120
RUNS_A_DAY = 24 * 3600 // RUN_EVERY
MANNERS = ["refused", "mute", "half_open", "refuses"]
WEEK = [pytest.param(0.25, id="six hours"), pytest.param(7, marks=pytest.mark.slow)]


@pytest.fixture
def clock(monkeypatch):
    """Clocks that can be moved on; between, they go as ever."""
    now, ahead = data.utc_now, [0.0]
    moved = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0])
    monkeypatch.setattr(send, "time", moved)
    monkeypatch.setattr(
        data, "utc_now", lambda: now() + datetime.timedelta(seconds=ahead[0])
    )

    def move_on(seconds):
        ahead[0] += seconds

    return move_on


class HTTPServer:
    """An HTTP server behind a link that fails."""

    destination = "http"

    def __init__(self):
        self.server = HTTPSink()
        self.server.start()
        self.link = Link(self.server.port)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.link.port}/messages"

    def refuse(self):
        self.server.status = 503

    def accept(self):
        self.server.status = 200

    def arrived(self):
        return bodies(self.server.accepted)

    def stop(self):
        self.link.manner = "refused"
        self.server.stop()


class MQTTServer:
    """A real MQTT broker behind a link that fails, and who listens to it."""

    destination = "mqtt"

    def __init__(self, start_broker, tmp_path):
        self.passwords = tmp_path / "password"
        self.accept()
        self.broker = start_broker(users={"sensor": "right"})
        self.link = Link(self.broker.port)
        self.subscriber = MQTTSubscriber(self.broker.port, "sensor", "right")
        self.subscriber.__enter__()

    @property
    def address(self):
        return self.link.port

    def refuse(self):
        self.passwords.write_text("wrong")

    def accept(self):
        self.passwords.write_text("right")

    def arrived(self):
        return payloads(self.subscriber)

    def stop(self):
        self.link.manner = "refused"
        self.subscriber.__exit__()


@pytest.fixture
def http(http_messenger_to):
    server = HTTPServer()
    yield server, http_messenger_to(server.address, timeout=0.1)
    server.stop()


@pytest.fixture
def mqtt(start_broker, mqtt_messenger_to, tmp_path):
    server = MQTTServer(start_broker, tmp_path)
    login = {"username": "sensor", "password_file": server.passwords}
    yield server, mqtt_messenger_to(server.address, timeout=0.1, **login)
    server.stop()


def store(outbox, contents):
    with outbox.database.transaction():
        for content in contents:
            assert outbox.store_message(data.Message(content=content))


def without_repeats(contents):
    return list(dict.fromkeys(contents))


def footprint():
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return descriptors, threading.active_count()


def connections_to(port):
    """Count what is open to a port; what was closed may take time to go."""
    return sum(
        it.status == psutil.CONN_ESTABLISHED and it.raddr.port == port
        for it in psutil.net_connections("tcp4")
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("days", WEEK)
@pytest.mark.parametrize("protocol", ["http", "mqtt"])
def test_an_outage_costs_no_message_and_little_else(
    request, outbox, clock, protocol, days
):
    server, messenger = request.getfixturevalue(protocol)
    name, link = server.destination, server.link
    other = FakeMessenger("other")
    task = generate_send_messages_task(outbox, [messenger, other])
    stored = [f"before {number}" for number in range(10)]
    store(outbox, stored)
    task()
    assert outbox.counts()[name].waiting == 0
    wait_until(lambda: server.arrived() == stored)
    runs = round(days * RUNS_A_DAY)
    attempts, most_open = link.connections, 0
    before = footprint()

    for run in range(runs):
        manner = MANNERS[run * len(MANNERS) // runs]
        if manner == "refuses":
            link.manner = "open"
            server.refuse()
        else:
            link.manner = manner
        messages = [f"{manner} {run}", *([f"hour {run}"] if run % 30 == 0 else [])]
        store(outbox, messages)
        stored += messages
        task()
        most_open = max(most_open, connections_to(link.port))
        clock(RUN_EVERY)

    # Falsely sent would be: acknowledged by nobody, and yet not waiting any more.
    counts = outbox.counts()[name]
    assert counts.waiting == len(stored) - 10
    assert (counts.sent, counts.parked, counts.expired) == (10, 0, 0)
    assert server.arrived() == stored[:10]
    assert contents_of(other) == stored, "another destination is not held up"
    # At most a try for each quarter of an hour, each with the doubling before it, and
    # a probe of the message behind.
    attempts = link.connections - attempts
    assert 0 < attempts <= 2 * (days * 24 * 3600 / 450 + 4 * 10)
    assert most_open <= 1
    descriptors, threads = footprint()
    assert descriptors <= before[0] + 6
    assert threads <= before[1] + 6
    size = outbox.path.stat().st_size
    assert size <= 400_000 + 500 * len(stored)
    wal = outbox.path.with_name(f"{outbox.path.name}-wal")
    assert wal.stat().st_size <= 16 * 2**20

    link.manner = "open"
    server.accept()
    # Patience of a tenth of a second made the outage short; a busy machine needs more.
    messenger.close()
    messenger.config = messenger.config.model_copy(update={"timeout": 10})
    store(outbox, ["after"])
    stored.append("after")
    clock(900)
    for _ in range(20):
        if not outbox.counts()[name].waiting:
            break
        task()
        clock(RUN_EVERY)
    counts = outbox.counts()[name]
    assert (counts.waiting, counts.parked, counts.expired) == (0, 0, 0)
    wait_until(lambda: without_repeats(server.arrived()) == stored)
    # A repeat is possible where an acknowledgement was lost, and only there.
    assert len(server.arrived()) - len(stored) <= len(MANNERS)
    print(
        f"outage {protocol}: {days} d, {len(stored)} messages, {attempts} connections, "
        f"{most_open} open at most, {size} B database"
    )


def contents_of(messenger):
    return [message.content for message in messenger.delivered]


@pytest.mark.timeout(300)
def test_news_arrive_while_a_backlog_drains_over_a_slow_line(
    outbox, clock, http_messenger_to
):
    with HTTPSink() as sink:
        sink.delay = 0.01
        task = generate_send_messages_task(
            outbox, [http_messenger_to(sink.url)], max_duration=0.3
        )
        old = [f"old {number}" for number in range(300)]
        store(outbox, old)
        task()
        drained_before = len(sink.accepted)
        assert 0 < drained_before < 200, "the line is slow enough"
        store(outbox, ["news"])
        clock(RUN_EVERY)
        task()
        arrived = bodies(sink.accepted)
        assert "news" in arrived
        assert [content for content in arrived if content != "news"] == old[
            : len(arrived) - 1
        ]
        while outbox.counts()["http"].waiting:
            clock(RUN_EVERY)
            task()
        assert sorted(bodies(sink.accepted)) == sorted([*old, "news"])
