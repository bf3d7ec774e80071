"""A sensor at work: it listens nowhere unasked, runs nobody's code, tells no secret.

One sensor for all tests, with a canary in the place of each secret. All that can go
wrong with a secret goes wrong first: its receivers refuse it, one repeats it in its
answers, the broker that wants a password goes away and comes back.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import stat
import tarfile

import psutil
import pytest
from provoked_sensor import CANARIES, Sensor, leaks

from acoupi.testing import MosquittoBroker, RedisServer, wait_until

# Other tests may keep the machine busy.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def sensor(tmp_path_factory):
    for server in (RedisServer, MosquittoBroker):
        if server.path() is None:
            pytest.skip(f"{server.program} is not installed")
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed")
    sensor = Sensor(tmp_path_factory.mktemp("sensor"))
    try:
        sensor.start()
        wait_until(lambda: sensor.recordings() >= 2, timeout=200, what="recordings")
        wait_until(lambda: sensor.http.received, timeout=30, what="a message")
        refused = "refuses this sensor"
        wait_until(lambda: refused in sensor.logs(), timeout=30, what=refused)
        sensor.redis.stop()
        wait_until(
            lambda: "Connection refused" in sensor.logs(), timeout=40, what="complaints"
        )
        sensor.start_broker()
        known = sensor.recordings()
        wait_until(
            lambda: sensor.recordings() > known + 1, timeout=200, what="going on"
        )
        yield sensor
    finally:
        sensor.stop()


def test_the_receiver_did_get_the_secrets(sensor):
    (first, *_) = sensor.http.received

    assert first.headers["x-token"] == CANARIES["HTTP token"]
    assert CANARIES["query"] in first.path


def test_nothing_listens_but_what_the_configuration_asks_for(sensor):
    wait_until(sensor.metrics_socket.exists)
    inet = {
        (connection.laddr.ip, connection.laddr.port)
        for process in sensor.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN or connection.type == 2
    }
    unix = {
        connection.laddr
        for process in sensor.processes()
        for connection in process.net_connections("unix")
        if connection.laddr
    }

    assert inet == {("127.0.0.1", sensor.metrics_port)}
    # The name under which it was made, before it took its place.
    assert unix == {f"{sensor.metrics_socket}.new"}
    assert stat.S_IMODE(sensor.metrics_socket.stat().st_mode) == 0o660


def test_nobody_sees_a_secret_in_the_list_of_processes(sensor):
    processes = sensor.processes()
    # The launcher, the workers and beat.
    assert len(processes) >= 4
    for process in processes:
        assert leaks(" ".join(process.cmdline())) == [], process
        assert leaks(" ".join(process.environ().values())) == [], process
        assert leaks(process.name()) == [], process


def test_the_logs_hold_no_secret_whatever_went_wrong(sensor):
    logs = sensor.logs()

    assert "refuses this sensor" in logs
    assert leaks(logs) == []


def test_secrets_are_in_two_files_that_only_the_owner_reads(sensor):
    holders = set()
    for path in sorted(sensor.root.rglob("*")):
        if path.is_file() and leaks(path.read_bytes().decode(errors="replace")):
            holders.add(path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    assert holders == {sensor.settings.program_file, sensor.settings.celery_file}


def test_the_home_is_not_open_to_others(sensor):
    paths = list(sensor.settings.home.rglob("*"))
    assert sensor.settings.program_file in paths
    for path in paths:
        # The socket for the figures is for the group, too.
        if not path.is_symlink() and path != sensor.metrics_socket:
            assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0, path


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("status", "--json"),
        ("check",),
        ("check", "--json"),
        ("doctor",),
        ("doctor", "--json"),
        ("metrics",),
        ("config", "get"),
        ("config", "get", "messaging"),
        ("config", "get", "messaging.http.token"),
        ("config", "get", "messaging.http.base_url"),
        ("config", "get", "celery.broker_url"),
        ("config", "get", "--json"),
        ("config", "set", "messaging.http.timeout", "much"),
        ("config", "set", "celery.broker_url", "wrong://:Jackdaw:Gallium@host"),
        ("task", "list"),
        ("task", "run", "--here", "heartbeat_task"),
        ("task", "run", "--here", "send_messages_task"),
        ("schedule", "preview"),
        ("deployment", "status"),
    ],
    ids=" ".join,
)
def test_no_command_shows_a_secret(sensor, words):
    said = sensor.acoupi("--debug", *words)

    assert said.strip()
    assert leaks(said) == []


def test_the_figures_hold_no_secret(sensor):
    import urllib.request

    url = f"http://127.0.0.1:{sensor.metrics_port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()

    assert "acoupi_recording 1\n" in text
    assert 'acoupi_messages_waiting{destination="http"}' in text
    assert leaks(text) == []


def test_the_support_bundle_holds_no_secret(sensor, tmp_path):
    file = tmp_path / "bundle.tar.gz"

    said = sensor.acoupi("support-bundle", "-o", str(file))

    assert leaks(said) == []
    with tarfile.open(file) as tar:
        for member in tar.getmembers():
            text = tar.extractfile(member).read().decode()
            assert leaks(text) == [], member.name


def test_what_goes_to_the_receivers_is_not_told_to_the_others(sensor):
    assert sensor.http.received
    for request in sensor.http.received:
        body = request.body.decode()
        assert leaks(body) == []
        others = set(leaks(json.dumps(request.headers)))
        assert "MQTT password" not in others
        assert "broker's password" not in others


class Bomb:
    """Code that runs where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def publish(sensor, queue, body, *, content_type, encoding="utf-8", **headers):
    import redis

    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": encoding,
        "content-type": content_type,
        "headers": {"lang": "py", "id": "1", "root_id": "1", **headers},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": str(len(body)),
            "delivery_info": {"exchange": "", "routing_key": queue},
            "correlation_id": "1",
        },
    }
    with redis.Redis(
        port=sensor.redis.port, password=CANARIES["broker's password"]
    ) as client:
        client.lpush(queue, json.dumps(message))
        return client


@pytest.mark.parametrize("queue", ["recording", "celery", "detection"])
def test_a_message_with_code_in_it_is_refused_and_does_no_harm(sensor, tmp_path, queue):
    import redis

    mark = tmp_path / "exploded"
    arguments = pickle.dumps(((Bomb(mark),), {}, {}))
    publish(
        sensor,
        queue,
        arguments,
        content_type="application/x-python-serialize",
        encoding="binary",
        task="file_management_task",
    )

    with redis.Redis(
        port=sensor.redis.port, password=CANARIES["broker's password"]
    ) as client:
        wait_until(lambda: client.llen(queue) == 0, timeout=30, what="the message")
    known = sensor.recordings()
    wait_until(
        lambda: sensor.recordings() > known + 1, timeout=200, what="recording on"
    )
    assert not mark.exists()


# What an intruder in the broker, or a fault, may put into a queue.
ODD_BODIES = {
    "not JSON": b"{",
    "no list": b"{}",
    "null": b"null",
    "too few": b"[[]]",
    "arguments nobody takes": b'[["../../etc/passwd", 1, 2], {"path": "/"}, {}]',
    "another type": b'[[{"__type__": "os.system", "__value__": "id"}], {}, {}]',
    "a type of ours": b'[[{"__type__": "acoupi.data.Recording", "__value__": 1}]]',
    "not UTF-8": b"\xff\xfe",
    "deep": b"[" * 5000 + b"]" * 5000,
    "big": b'[["' + b"a" * 1_000_000 + b'"], {}, {}]',
}


def test_odd_messages_in_the_queues_stop_nothing(sensor):
    before = {process.pid for process in sensor.processes()}
    for queue in ("recording", "celery", "detection"):
        for body in ODD_BODIES.values():
            for task in ("recording_task", "file_management_task", "no_such_task"):
                publish(sensor, queue, body, content_type="application/json", task=task)
    import redis

    with redis.Redis(
        port=sensor.redis.port, password=CANARIES["broker's password"]
    ) as client:
        for queue in ("recording", "celery", "detection"):
            wait_until(
                lambda queue=queue: client.llen(queue) == 0,
                timeout=200,
                what=f"an empty queue {queue}",
            )
    known = sensor.recordings()
    wait_until(
        lambda: sensor.recordings() > known + 1, timeout=200, what="recording on"
    )
    assert {process.pid for process in sensor.processes()} == before
    assert leaks(sensor.logs()) == []


@pytest.mark.parametrize("queue", ["recording", "celery"])
@pytest.mark.parametrize(
    "item",
    [b"garbage", b"{}", b"[]", b'{"body": 1}', b'{"properties": {}}', b"\xff\x00"],
)
def test_what_is_no_message_at_all_stops_nothing(sensor, queue, item):
    import redis

    before = {process.pid for process in sensor.processes()}
    with redis.Redis(
        port=sensor.redis.port, password=CANARIES["broker's password"]
    ) as client:
        client.lpush(queue, item)
        wait_until(lambda: client.llen(queue) == 0, timeout=30, what="the item")
    known = sensor.recordings()
    wait_until(
        lambda: sensor.recordings() > known + 1, timeout=200, what="recording on"
    )
    assert {process.pid for process in sensor.processes()} == before
