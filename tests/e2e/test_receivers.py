"""The servers that sensors send to while their power is cut."""

from __future__ import annotations

import pytest
import receivers

from acoupi import data
from acoupi.components import HTTPConfig, HTTPMessenger, MQTTConfig, MQTTMessenger
from acoupi.testing import MosquittoBroker

MESSENGERS = {"http": (HTTPMessenger, HTTPConfig), "mqtt": (MQTTMessenger, MQTTConfig)}


@pytest.fixture(params=sorted(receivers.RECEIVERS))
def receiver(request, tmp_path):
    if request.param == "mqtt" and MosquittoBroker.path() is None:
        pytest.skip("mosquitto is not installed")
    found = receivers.RECEIVERS[request.param](tmp_path / "receiver")
    found.start()
    yield found
    found.stop()


@pytest.fixture
def messenger(receiver):
    kind, config = MESSENGERS[receiver.destination]
    made = kind.from_config(config(**receiver.settings("127.0.0.1", receiver.port)))
    yield made
    made.close()


def test_each_arrival_is_told_before_the_sensor_knows_of_it(receiver, messenger):
    message = data.Message(content='{"number": 1}')
    seen = []

    def see():
        seen.append([it.key for it in receiver.arrived()])

    receiver.when_answered = see
    assert messenger.send_message(message).status is data.ResponseStatus.SUCCESS
    assert seen == [[str(message.id)]]
    assert receiver.arrived() == [
        receivers.Arrival(str(message.id), message.content.encode())
    ]


def test_repetitions_count_and_what_never_was_is_forgotten(receiver, messenger):
    messages = [data.Message(content=f'{{"number": {n}}}') for n in range(3)]
    for message in [*messages, messages[2]]:
        messenger.send_message(message)
    ids = [str(message.id) for message in messages]
    assert [it.key for it in receiver.arrived()] == [*ids, ids[2]]
    receiver.forget_after(1)
    assert [it.key for it in receiver.arrived()] == ids[:1]
    messenger.send_message(messages[1])
    assert [it.key for it in receiver.arrived()] == ids[:2]
