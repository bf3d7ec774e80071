"""Delivery over MQTT against a real broker, and against one that misbehaves."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time

import pytest
from deliveries import EAGER, fill, payloads, waiting

from acoupi import data
from acoupi.components.delivery import RetryPolicy
from acoupi.errors import AcoupiError
from acoupi.tasks import generate_send_messages_task
from acoupi.testing import (
    FakeMessenger,
    MQTTSubscriber,
    free_port,
    wait_until,
)

SUCCESS, FAILED, ERROR, TIMEOUT = data.ResponseStatus
CANARY = "c4n4ry-d0-n0t-sh0w"


@pytest.fixture
def messenger_to(mqtt_messenger_to):
    return mqtt_messenger_to


class ScriptedBroker:
    """Speaks just enough MQTT 5 to misbehave in a chosen manner."""

    def __init__(self, manner="answer", dies_after=None, delay=0.0, properties=b""):
        self.manner = manner
        self.properties = properties
        self.most_in_flight = 0
        self.dies_after = dies_after
        self.delay = delay
        self.seen = []
        self.acknowledged = []
        self.connections = 0
        self.open = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._closing = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._closing.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self.open += 1
            threading.Thread(
                target=self._serve, args=(connection,), daemon=True
            ).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            try:
                self._speak(connection, stream)
            except OSError:
                pass
            finally:
                self.open -= 1

    def _speak(self, connection, stream):
        answered = 0
        while head := stream.read(1):
            length, shift = 0, 0
            while True:
                (byte,) = stream.read(1)
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            body = stream.read(length)
            kind = head[0] >> 4
            if kind == 1 and self.manner != "never_connack":
                size = bytes([len(self.properties)])
                connection.sendall(
                    bytes([0x20, 3 + len(self.properties), 0, 0])
                    + size
                    + self.properties
                )
            elif kind == 3:
                (topic,) = struct.unpack_from(">H", body)
                number = body[2 + topic : 4 + topic]
                properties = body[4 + topic]
                text = body[5 + topic + properties :].decode()
                self.seen.append(text)
                in_flight = len(self.seen) - len(self.acknowledged)
                self.most_in_flight = max(self.most_in_flight, in_flight)
                if self.dies_after is not None and answered >= self.dies_after:
                    connection.sendall(b"\x40\x02")  # half a PUBACK
                    connection.shutdown(socket.SHUT_RDWR)
                    return
                self._closing.wait(self.delay)
                if self.manner == "answer":
                    self.acknowledged.append(text)
                    connection.sendall(b"\x40\x02" + number)
                    answered += 1


def test_messages_arrive_with_topic_content_and_id(start_broker, messenger_to):
    broker = start_broker()
    messenger = messenger_to(broker.port, topic="sensors/one")
    text, raw = data.Message(content="grüße"), data.Message(content=b"\x00\xff")

    with MQTTSubscriber(broker.port) as subscriber:
        assert messenger.send_message(text).status is SUCCESS
        assert messenger.send_message(raw).status is SUCCESS
        wait_until(lambda: len(subscriber.received) == 2)

    first, second = subscriber.received
    assert first.topic == "sensors/one"
    assert first.payload == "grüße".encode()
    assert first.properties["message_id"] == str(text.id)
    assert first.properties["created_on"] == text.created_on.isoformat()
    assert second.payload == b"\x00\xff"


def test_mqtt_3_1_1_works_too(start_broker, messenger_to):
    broker = start_broker()
    messenger = messenger_to(broker.port, protocol_version="3.1.1")

    with MQTTSubscriber(broker.port) as subscriber:
        assert messenger.send_message(data.Message(content="a")).status is SUCCESS
        wait_until(lambda: payloads(subscriber) == ["a"])


def test_unix_socket_and_websockets_work_too(start_broker, messenger_to, tmp_path):
    path, port = tmp_path / "mqtt.sock", free_port()
    start_broker(
        settings=[
            f"listener 0 {path}",
            f"listener {port} 127.0.0.1",
            "protocol websockets",
        ]
    )
    unix = messenger_to(1884, host=str(path), transport="unix")
    web = messenger_to(port, transport="websockets")

    for messenger in (unix, web):
        messenger.check()
        assert messenger.send_message(data.Message(content="a")).status is SUCCESS


def test_one_connection_serves_all_runs(start_broker, messenger_to, outbox):
    broker = start_broker()
    task = generate_send_messages_task(outbox, [messenger_to(broker.port)])

    for run in range(4):
        fill(outbox, 50, first=50 * run)
        task()

    log = (broker.directory / "mosquitto.log").read_text()
    assert log.count("New client connected") == 1
    assert outbox.counts()["mqtt"].sent == 200


def test_a_backlog_arrives_whole_once_and_in_order(start_broker, messenger_to, outbox):
    broker = start_broker()
    task = generate_send_messages_task(outbox, [messenger_to(broker.port)])
    fill(outbox, 1000)

    with MQTTSubscriber(broker.port) as subscriber:
        task()
        wait_until(lambda: len(subscriber.received) >= 1000)

    assert payloads(subscriber) == [str(n) for n in range(1000)]
    assert waiting(outbox, "mqtt") == 0


def test_broker_down_then_up(start_broker, messenger_to, outbox):
    broker = start_broker()
    broker.stop()
    other = FakeMessenger("other")
    messenger = messenger_to(broker.port)
    task = generate_send_messages_task(outbox, [messenger, other], policy=EAGER)
    fill(outbox, 30)

    for _ in range(8):
        task()
    assert waiting(outbox, "mqtt") == 30
    assert len(other.delivered) == 30
    with pytest.raises(AcoupiError, match="refused"):
        messenger.check()

    broker.start()
    with MQTTSubscriber(broker.port) as subscriber:
        task()
        wait_until(lambda: len(subscriber.received) >= 30)
    assert payloads(subscriber) == [str(n) for n in range(30)]
    assert waiting(outbox, "mqtt") == 0


def test_refused_login_never_counts_as_sent_and_heals_with_the_password(
    start_broker, messenger_to, outbox, tmp_path, caplog
):
    broker = start_broker(users={"sensor": CANARY})
    file = tmp_path / "password"
    file.write_text("wrong\n")
    messenger = messenger_to(broker.port, username="sensor", password_file=file)
    task = generate_send_messages_task(outbox, [messenger], policy=EAGER)
    fill(outbox, 10)

    with caplog.at_level(0):
        for _ in range(10):
            task()
        with pytest.raises(AcoupiError, match="check username"):
            messenger.check()
    assert waiting(outbox, "mqtt") == 10
    assert outbox.counts()["mqtt"].sent == 0
    assert outbox.counts()["mqtt"].parked == 0

    file.write_text(f"{CANARY}\n")
    with MQTTSubscriber(broker.port, "sensor", CANARY) as subscriber:
        task()
        wait_until(lambda: len(subscriber.received) >= 10)
    assert payloads(subscriber) == [str(n) for n in range(10)]
    assert CANARY not in caplog.text
    assert CANARY not in repr(messenger)


def test_a_user_who_may_not_publish_is_told_so(start_broker, messenger_to, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("topic read #\n")
    acl.chmod(0o600)
    broker = start_broker(settings=[f"acl_file {acl}"])

    response = messenger_to(broker.port).send_message(data.Message(content="a"))

    assert response.status is ERROR
    assert "Not authorized" in response.content


@pytest.mark.parametrize("manner", ["never_connack", "never_puback"])
def test_a_mute_broker_costs_its_timeout_and_no_message(messenger_to, outbox, manner):
    other = FakeMessenger("other")
    with ScriptedBroker(manner) as broker:
        messenger = messenger_to(broker.port, timeout=0.3)
        task = generate_send_messages_task(outbox, [messenger, other], policy=EAGER)
        fill(outbox, 5)

        began = time.monotonic()
        for _ in range(4):
            task()
        assert time.monotonic() - began < 4 * (0.3 + 0.5) + 2

        assert len(other.delivered) == 5
        assert outbox.counts()["mqtt"].sent == 0
        assert waiting(outbox, "mqtt") == 5
        wait_until(lambda: broker.open == 0, what="closing given-up connections")
        broker.manner = "answer"
        broker.seen.clear()
        task()
    assert broker.acknowledged == broker.seen == list("01234")
    assert waiting(outbox, "mqtt") == 0


def test_a_frozen_broker_is_given_up_and_used_again(start_broker, messenger_to, outbox):
    broker = start_broker()
    task = generate_send_messages_task(
        outbox, [messenger_to(broker.port, timeout=0.5)], policy=EAGER
    )
    fill(outbox, 5)
    task()
    assert waiting(outbox, "mqtt") == 0

    os.kill(broker.pid, signal.SIGSTOP)
    try:
        fill(outbox, 20, first=5)
        task()
        task()
        assert waiting(outbox, "mqtt") == 20
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    task()
    assert waiting(outbox, "mqtt") == 0


@pytest.mark.parametrize("dies_after", [0, 1, 7])
def test_a_broker_that_dies_half_way_loses_and_swaps_nothing(
    messenger_to, outbox, dies_after
):
    with ScriptedBroker(dies_after=dies_after) as broker:
        messenger = messenger_to(broker.port)
        policy = RetryPolicy(first_delay=0, patience=10**6)
        task = generate_send_messages_task(outbox, [messenger], policy=policy)
        fill(outbox, 40)
        for _ in range(12):
            task()
            assert outbox.counts()["mqtt"].sent <= len(broker.acknowledged)
        broker.dies_after = None
        task()

    assert waiting(outbox, "mqtt") == 0
    assert broker.acknowledged == [str(n) for n in range(40)]


def test_a_killed_broker_loses_and_swaps_nothing(start_broker, messenger_to, outbox):
    broker = start_broker()
    task = generate_send_messages_task(
        outbox, [messenger_to(broker.port)], policy=EAGER
    )
    fill(outbox, 3000)
    sender = threading.Thread(target=task)
    sender.start()
    wait_until(lambda: outbox.counts()["mqtt"].sent > 300)
    broker.stop()
    sender.join(30)
    sent = outbox.counts()["mqtt"].sent
    assert 0 < sent < 3000

    broker.start()
    with MQTTSubscriber(broker.port) as subscriber:
        task()
        wait_until(lambda: payloads(subscriber)[-1:] == ["2999"])
    assert payloads(subscriber) == [str(n) for n in range(sent, 3000)]
    assert waiting(outbox, "mqtt") == 0


def test_a_slow_broker_gets_everything_in_order(messenger_to, outbox):
    other = FakeMessenger("other")
    with ScriptedBroker(delay=0.05) as broker:
        task = generate_send_messages_task(outbox, [messenger_to(broker.port), other])
        fill(outbox, 30)
        task()

    assert broker.acknowledged == [str(n) for n in range(30)]
    assert waiting(outbox, "mqtt") == 0
    assert len(other.delivered) == 30


def test_a_message_too_large_for_the_broker_is_refused_alone(
    start_broker, messenger_to, outbox
):
    broker = start_broker(settings=["max_packet_size 2000"])
    task = generate_send_messages_task(outbox, [messenger_to(broker.port)])
    outbox.store_message(data.Message(content="x" * 5000))
    fill(outbox, 10)

    task()

    assert outbox.counts()["mqtt"].sent == 10
    assert waiting(outbox, "mqtt") == 1


def test_a_connection_lost_while_idle_is_opened_again(
    start_broker, messenger_to, outbox
):
    broker = start_broker()
    messenger = messenger_to(broker.port)
    assert messenger.send_message(data.Message(content="a")).status is SUCCESS
    broker.stop()
    broker.start()
    wait_until(lambda: messenger._connection.lost is not None)

    assert messenger.send_message(data.Message(content="b")).status is SUCCESS
    messenger.close()
    assert messenger.send_message(data.Message(content="c")).status is SUCCESS


def test_closed_messengers_leave_no_thread(start_broker, messenger_to):
    broker = start_broker()
    before = threading.active_count()
    messengers = [messenger_to(broker.port) for _ in range(3)]
    messengers += [messenger_to(free_port())]
    for messenger in messengers:
        messenger.send_message(data.Message(content="a"))
    for messenger in messengers:
        messenger.close()

    wait_until(lambda: threading.active_count() <= before)


@pytest.mark.parametrize("allowed", [1, 3])
def test_no_more_is_in_flight_than_the_broker_allows(messenger_to, allowed):
    receive_maximum = b"\x21" + struct.pack(">H", allowed)
    messages = [data.Message(content=str(n)) for n in range(30)]
    with ScriptedBroker(properties=receive_maximum, manner="late") as broker:
        messenger = messenger_to(broker.port, max_inflight=20, timeout=0.3)
        responses = messenger.send_messages(messages)
        assert [response.status for response in responses] == [TIMEOUT]
        assert broker.most_in_flight == allowed


def test_a_broker_that_cannot_acknowledge_is_refused(messenger_to):
    with ScriptedBroker(properties=b"\x24\x00") as broker:
        messenger = messenger_to(broker.port)
        assert messenger.send_message(data.Message(content="a")).status is ERROR
        with pytest.raises(AcoupiError, match="QoS 0"):
            messenger.check()
    assert broker.seen == []


def test_closing_does_not_wait_for_a_mute_broker(messenger_to):
    with ScriptedBroker("never_puback") as broker:
        messenger = messenger_to(broker.port, timeout=60)
        message = data.Message(content="a")
        found = []
        sender = threading.Thread(
            target=lambda: found.append(messenger.send_message(message))
        )
        sender.start()
        wait_until(lambda: broker.seen)
        began = time.monotonic()
        messenger.close()
        sender.join(10)
        assert time.monotonic() - began < 5

    assert [response.status for response in found] == [ERROR]
