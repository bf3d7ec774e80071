from __future__ import annotations

import json

import acoupi
from acoupi.components import SqliteMessageStore, SqliteStore
from acoupi.tasks import generate_heartbeat_task
from acoupi.testing import FakeMessageStore, make_deployment


def test_a_heartbeat_tells_place_version_and_figures(tmp_path):
    store = SqliteStore(tmp_path / "store.db")
    deployment = make_deployment(name="wood")
    store.store_deployment(deployment)
    outbox = SqliteMessageStore(tmp_path / "store.db", destinations=["mqtt"])
    task = generate_heartbeat_task(
        message_store=outbox, store=store, paths=[tmp_path], required_models=["m"]
    )

    task()

    (message,) = outbox.due("mqtt", 10)
    content = json.loads(message.content)
    assert content["heartbeat"] == "acoupi"
    assert content["version"] == acoupi.__version__
    assert content["created_on"] == message.created_on.isoformat()
    assert content["deployment"] == {
        "id": str(deployment.id),
        "name": "wood",
        "latitude": 51.5,
        "longitude": -0.15,
    }
    assert content["metrics"]["recordings"] == {"value": 0, "unit": None}
    assert content["metrics"]["memory_total"]["unit"] == "B"
    assert content["metrics"]["messages_waiting.mqtt"]["value"] == 0


def test_every_run_is_a_message_of_its_own():
    outbox = FakeMessageStore()
    task = generate_heartbeat_task(message_store=outbox)

    task()
    task()

    assert len(outbox.get_unsent_messages()) == 2


def test_a_broken_store_does_not_silence_the_heartbeat(caplog):
    class Broken:
        def get_current_deployment(self):
            raise OSError("disk gone")

        def counts(self):
            raise OSError("disk gone")

    outbox = FakeMessageStore()

    generate_heartbeat_task(message_store=outbox, store=Broken())()

    (message,) = outbox.get_unsent_messages()
    assert json.loads(message.content)["deployment"] is None
    assert "disk gone" in caplog.text


def test_figures_that_are_not_numbers_become_null(tmp_path):
    file = tmp_path / "recorder.json"
    file.write_text('{"samples_lost": NaN}')
    outbox = FakeMessageStore()

    generate_heartbeat_task(message_store=outbox, status_file=file)()

    (message,) = outbox.get_unsent_messages()
    assert "NaN" not in message.content
    assert json.loads(message.content)["metrics"]["samples_lost"]["value"] is None
