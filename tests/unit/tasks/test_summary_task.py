"""The summary task queues what its summarisers say."""

from __future__ import annotations

import datetime
import json
import logging

import pytest

from acoupi import data
from acoupi.components.stores import SqliteStore
from acoupi.components.summaries import StatisticsDetectionsSummariser
from acoupi.components.types import MessageStore, Summariser
from acoupi.tasks import generate_summariser_task

NOON = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
HOUR = datetime.timedelta(hours=1)


class Outbox(MessageStore):
    def __init__(self):
        self.messages = []
        self.broken = False

    def store_message(self, message):
        if self.broken:
            raise OSError(28, "No space left on device")
        self.messages.append(message)
        return True

    def get_unsent_messages(self):
        return self.messages

    def store_response(self, response):
        raise NotImplementedError


class Says(Summariser):
    interval = 60

    def __init__(self, answer):
        self.answer = answer

    def build_summary(self, now):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def outbox():
    return Outbox()


@pytest.fixture
def clock(monkeypatch):
    """Set what the current time is."""

    def set_to(now):
        monkeypatch.setattr("acoupi.data.utc_now", lambda: now)

    set_to(NOON)
    return set_to


def detect(store, created_on):
    store.store_model_output(
        data.ModelOutput(
            name_model="ears",
            recording=data.Recording(
                created_on=created_on,
                duration=3,
                samplerate=48000,
                deployment=store.get_current_deployment(),
            ),
            detections=[
                data.Detection(tags=[data.PredictedTag(data.Tag("species", "x"), 0.5)])
            ],
        )
    )


def counts(outbox):
    return [json.loads(m.content)["tags"][0]["count"] for m in outbox.messages]


def test_one_message_several_or_none_are_queued(outbox):
    one, two, three = (data.Message(content=str(n)) for n in range(3))
    generate_summariser_task(
        summarisers=[Says(one), Says(None), Says([two, three]), Says([])],
        message_store=outbox,
        logger=logging.getLogger("acoupi.test"),
    )()
    assert outbox.messages == [one, two, three]


def test_the_task_is_named_and_returns_nothing(outbox):
    task = generate_summariser_task(summarisers=[], message_store=outbox)
    assert task.__name__ == "summary_task"
    assert task() is None


def test_a_summariser_that_raises_is_logged_and_keeps_no_other_from_its_work(
    outbox, caplog
):
    message = data.Message(content="x")
    generate_summariser_task(
        summarisers=[Says(ValueError("no ears")), Says(message)], message_store=outbox
    )()
    assert outbox.messages == [message]
    (record,) = caplog.records
    assert "Says failed" in record.message
    assert "no ears" in record.exc_text


def test_every_detection_is_in_one_summary(tmp_path, outbox, clock):
    store = SqliteStore(tmp_path / "metadata.db")
    task = generate_summariser_task(
        [StatisticsDetectionsSummariser(store, 3600)], outbox
    )
    detect(store, NOON - HOUR / 2)
    task()
    detect(store, NOON - HOUR / 3)
    detect(store, NOON + HOUR / 3)
    clock(NOON + HOUR)
    task()
    task()
    clock(NOON + 2 * HOUR)
    task()
    assert counts(outbox) == [1, 2]


def test_what_could_not_be_queued_is_in_the_next_summary(
    tmp_path, outbox, clock, caplog
):
    store = SqliteStore(tmp_path / "metadata.db")
    task = generate_summariser_task(
        [StatisticsDetectionsSummariser(store, 3600)], outbox
    )
    detect(store, NOON - HOUR / 2)
    outbox.broken = True
    task()
    assert "No space left" in caplog.records[0].exc_text
    assert outbox.messages == []
    outbox.broken = False
    clock(NOON + HOUR / 4)
    task()
    assert counts(outbox) == [1]


def test_the_message_and_its_progress_are_durable_together(
    tmp_path, clock, monkeypatch
):
    outbox_module = pytest.importorskip("acoupi.components.outbox")
    path = tmp_path / "acoupi.db"
    store, outbox = SqliteStore(path), outbox_module.SqliteMessageStore(path)
    outbox.set_destinations(["there"])
    summariser = StatisticsDetectionsSummariser(store, 3600)
    task = generate_summariser_task([summariser], outbox)
    detect(store, NOON - HOUR / 2)

    def killed(now):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(summariser, "summary_stored", killed)
        with pytest.raises(KeyboardInterrupt):
            task()
    assert outbox.get_unsent_messages() == []
    task()
    (message,) = outbox.get_unsent_messages()
    assert json.loads(message.content)["tags"][0]["count"] == 1
