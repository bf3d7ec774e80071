"""Messages per second over MQTT and HTTP on the loopback interface.

Beside each: the same with the bare library (paho with QoS 1 and the same number in
flight, httpx posting the same bodies), and what the durable outbox alone can mark as
sent. Run: ``python tests/bench/messages.py [--count N]``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from acoupi import data
from acoupi.components import (
    HTTPConfig,
    HTTPMessenger,
    MQTTConfig,
    MQTTMessenger,
    SqliteMessageStore,
)
from acoupi.tasks import generate_send_messages_task
from acoupi.testing import MosquittoBroker, wait_until

BODY = '{"name_model": "activity", "detections": ' + "[0.5, 0.25]" * 30 + "}"

# The server has a process of its own, so that it does not compete with the client for
# Python's interpreter lock.
SERVER = """
from acoupi.testing import HTTPSink
sink = HTTPSink()
sink.start()
print(sink.url, flush=True)
import sys; sys.stdin.read()
"""


def filled_outbox(path, count):
    outbox = SqliteMessageStore(path)
    with outbox.database.transaction():
        for _ in range(count):
            outbox.store_message(data.Message(content=BODY))
    return outbox


def timed(what, count, function):
    began = time.perf_counter()
    function()
    seconds = time.perf_counter() - began
    print(f"{what:<58}{count / seconds:>10.0f} per second")


def bench_task(what, directory, messenger, count):
    outbox = filled_outbox(directory / f"{messenger.name}.db", count)
    task = generate_send_messages_task(outbox, [messenger], max_duration=600)
    timed(f"{what}: outbox to acknowledged and noted", count, task)
    assert outbox.counts()[messenger.name].sent == count
    messages = [data.Message(content=BODY) for _ in range(count)]
    timed(
        f"{what}: messenger alone, one by one",
        count,
        lambda: [messenger.send_message(message) for message in messages],
    )
    messenger.close()


def bare_mqtt(port, count, inflight):
    from paho.mqtt import client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.max_inflight_messages_set(inflight)
    ready, finished = threading.Event(), threading.Event()
    done = []

    def on_publish(*_):
        done.append(1)
        if len(done) == count:
            finished.set()

    client.on_connect = lambda *_: ready.set()
    client.on_publish = on_publish
    client.connect("127.0.0.1", port)
    client.loop_start()
    ready.wait(10)

    def publish():
        for _ in range(count):
            client.publish("bare", BODY, qos=1)
        finished.wait(600)

    timed(f"  limit: bare paho, QoS 1, {inflight} in flight", count, publish)
    client.disconnect()
    client.loop_stop()


def bare_http(url, count):
    import httpx

    headers = {"Content-Type": "application/json"}
    with httpx.Client(headers=headers) as client:

        def post():
            for _ in range(count):
                client.post(url, content=BODY.encode()).raise_for_status()

        timed("  limit: bare httpx, one connection", count, post)


def bare_outbox(directory, count, batch):
    outbox = filled_outbox(directory / f"bare-{batch}.db", count)
    outbox.set_destinations(["x"])

    def mark():
        left = count
        while left:
            messages = outbox.due("x", batch)
            with outbox.database.transaction():
                for message in messages:
                    outbox.mark_sent(message, "x")
            left -= len(messages)

    timed(f"  limit: outbox alone, {batch} per commit", count, mark)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    count = parser.parse_args().count
    print(f"{count} messages of {len(BODY)} bytes each")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        if MosquittoBroker.path() is None:
            print("MQTT: skipped, mosquitto is not installed")
        else:
            with MosquittoBroker(directory) as broker:
                config = MQTTConfig(host="127.0.0.1", port=broker.port)
                bench_task("MQTT", directory, MQTTMessenger(config), count)
                bare_mqtt(broker.port, count, config.max_inflight)
                bare_mqtt(broker.port, count, 1)
        with subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            url = server.stdout.readline().strip()
            bench_task(
                "HTTP", directory, HTTPMessenger(HTTPConfig(base_url=url)), count
            )
            bare_http(url, count)
            server.stdin.close()
            wait_until(lambda: server.poll() is not None)
        bare_outbox(directory, count, 1)
        bare_outbox(directory, count, 64)


if __name__ == "__main__":
    main()
