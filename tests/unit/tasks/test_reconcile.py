"""What was forgotten is rung for again, in bounded numbers."""

import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from acoupi import data
from acoupi.components.stores import SqliteStore
from acoupi.tasks import generate_reconcile_task, reconcile

START = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)


@pytest.fixture
def store(tmp_path) -> SqliteStore:
    return SqliteStore(tmp_path / "acoupi.db")


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(reconcile.time, "monotonic", lambda: Clock.now)
    return Clock


def add(store, count=1):
    recordings = [
        data.Recording(
            created_on=START,
            duration=1,
            samplerate=8000,
            deployment=data.Deployment(name="wood"),
            path=Path(f"/tmp/{uuid4()}.wav"),
        )
        for _ in range(count)
    ]
    with store.transaction():
        for recording in recordings:
            store.store_recording(recording)
    return recordings


def analyse(store, recording):
    store.store_model_output(data.ModelOutput(name_model="m", recording=recording))


def test_what_waited_before_the_start_is_rung_for_at_once(store, clock):
    waiting, done = add(store, 2)
    analyse(store, done)
    rung = []
    generate_reconcile_task(store, rung.append, ["m"])()
    assert rung == [waiting]


def test_new_recordings_have_time_to_be_analysed(store, clock):
    rung = []
    task = generate_reconcile_task(store, rung.append, ["m"], patience=60)
    task()
    (recording,) = add(store)
    task()
    clock.now += 59
    task()
    assert rung == []
    clock.now += 1
    task()
    task()
    assert rung == [recording]
    clock.now += 60
    task()
    assert rung == [recording] * 2
    analyse(store, recording)
    clock.now += 60
    task()
    assert rung == [recording] * 2


def test_a_large_backlog_is_rung_for_in_bounded_portions_oldest_first(store, clock):
    recordings = add(store, 25)
    rung = []
    task = generate_reconcile_task(store, rung.append, ["m"], max_recordings=10)
    task()
    assert rung == recordings[:10]
    task()
    task()
    assert rung == recordings
    task()
    assert len(rung) == 25


def test_a_queue_that_is_full_gets_nothing_more(store, clock):
    add(store, 3)
    rung = []
    waiting = [0]
    task = generate_reconcile_task(
        store,
        rung.append,
        ["m"],
        patience=0,
        max_recordings=5,
        count_waiting=lambda: waiting[0],
    )
    task()
    waiting[0] = 5
    task()
    assert len(rung) == 3
    waiting[0] = None
    task()
    assert len(rung) == 6


def test_without_required_models_nothing_is_rung(store):
    add(store)
    rung = []
    generate_reconcile_task(store, rung.append, [])()
    assert rung == []


def test_a_ring_that_fails_is_tried_again(store, clock):
    (recording,) = add(store)
    rung = []

    def ring(recording):
        if not rung:
            rung.append(None)
            raise ConnectionError("no broker")
        rung.append(recording)

    task = generate_reconcile_task(store, ring, ["m"], patience=60)
    with pytest.raises(ConnectionError):
        task()
    task()
    assert rung == [None, recording]
