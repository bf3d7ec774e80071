"""The store follows each recording to its end and counts what was lost."""

# ruff: noqa: PT012  transactions are undone by raising inside them

import datetime
from pathlib import Path
from uuid import uuid4

import pytest

from acoupi import data
from acoupi.components.stores import SqliteStore
from acoupi.components.stores.kept import KeptRecordings

START = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "acoupi.db")


@pytest.fixture
def recording(store) -> data.Recording:
    return add(store)


def add(store, minute=0) -> data.Recording:
    recording = data.Recording(
        created_on=START + datetime.timedelta(minutes=minute),
        duration=3,
        samplerate=48_000,
        deployment=data.Deployment(name="wood"),
        path=Path(f"/tmp/audio/{uuid4()}.wav"),
    )
    store.store_recording(recording)
    return recording


def analyse(store, recording, name="a", score=0.5, tag="x"):
    store.store_model_output(
        data.ModelOutput(
            name_model=name,
            recording=recording,
            detections=[
                data.Detection(
                    tags=[data.PredictedTag(data.Tag("species", tag), score)]
                )
            ],
        )
    )


def test_a_recording_waits_until_each_required_model_is_done(store, recording):
    assert store.pending(["a", "b"]) == [recording]
    analyse(store, recording, "a")
    assert store.pending(["a", "b"]) == [recording]
    assert store.get_unfinished_models(recording, ["a", "b"]) == ["b"]
    assert store.get_decidable(["a", "b"]) == []
    store.note_refusal(recording, "b", "too short")
    assert store.pending(["a", "b"]) == []
    assert store.backlog(["a", "b"]) == 0
    assert [r for r, _ in store.get_decidable(["a", "b"])] == [recording]


def test_without_required_models_nothing_waits(store, recording):
    assert store.pending([]) == []
    assert store.backlog([]) == 0
    assert [r for r, _ in store.get_decidable([])] == [recording]


def test_what_is_decided_waits_no_more(store, recording):
    store.settle_recording(recording, Path("/aside/a.wav"), "set_aside", "because")
    assert store.pending(["a"]) == []
    assert store.get_decidable([]) == []
    assert store.get_undecided() == []
    assert store.get_reason(recording) == "because"
    assert store.find_by_origin(recording.path).path == Path("/aside/a.wav")


def test_attempts_are_counted_and_end_with_an_output(store, recording):
    assert store.note_attempt(recording, "a") == 1
    assert store.note_attempt(recording, "a") == 2
    assert store.note_attempt(recording, "b") == 1
    store.withdraw_attempt(recording, "a")
    assert store.note_attempt(recording, "a") == 2
    assert store.pending(["a"]) == [recording]
    analyse(store, recording, "a")
    assert store.note_attempt(recording, "a") == 1


def test_a_model_that_is_given_up_is_done_and_remembered(store, recording):
    store.note_attempt(recording, "a")
    store.note_failure(recording, "a", "raised")
    assert store.get_failures(recording) == {"a": "raised"}
    assert store.pending(["a"]) == []


def test_a_model_that_starts_too_late_stays_given_up(store, recording):
    store.store_recording(recording)
    store.note_failure(recording, "model", "no time")
    store.note_attempt(recording, "model")
    assert store.get_failures(recording) == {"model": "no time"}
    assert store.get_unfinished_models(recording, ["model"]) == []
    assert not store.is_under_way(recording, "model")


def test_a_model_is_at_work_from_its_start_to_its_output_or_long_after(
    store, recording, monkeypatch
):
    assert not store.is_under_way(recording, "model")
    store.note_attempt(recording, "model")
    assert store.is_under_way(recording, "model")
    assert not store.is_under_way(recording, "other")
    later = data.utc_now() + datetime.timedelta(minutes=11)
    with monkeypatch.context() as clock:
        clock.setattr(data, "utc_now", lambda: later)
        assert not store.is_under_way(recording, "model")
    store.store_model_output(data.ModelOutput(name_model="model", recording=recording))
    assert not store.is_under_way(recording, "model")


def test_the_backlog_is_oldest_first_and_bounded(store):
    recordings = [add(store, minute) for minute in range(5)]
    assert store.pending(["a"], limit=3) == recordings[:3]
    assert store.backlog(["a"]) == 5


def test_losses_are_summed_by_day_and_reason(store):
    store.add_loss("samples", 10, "overflow")
    store.add_loss("samples", 5, "overflow")
    store.add_loss("samples", 1, "unplugged " * 100)
    losses = store.get_losses()
    assert sorted(loss.count for loss in losses) == [1, 15]
    assert all(len(loss.reason) <= 300 for loss in losses)
    later = data.utc_now() + datetime.timedelta(hours=1)
    assert store.get_losses(after=later) == []


def test_counts_tell_what_became_of_recordings(store):
    recordings = [add(store, minute) for minute in range(6)]
    analyse(store, recordings[3])
    states = ("kept", "deleted", "set_aside", "missing")
    for recording, state in zip(recordings, states, strict=False):
        store.settle_recording(recording, None, state)
    counts = store.counts()
    assert (counts.recordings, counts.undecided) == (6, 2)
    assert [getattr(counts, state) for state in states] == [1, 1, 1, 1]
    assert (counts.model_outputs, counts.detections) == (1, 1)
    assert counts.last_recording_on == recordings[5].created_on
    assert counts.last_detection_on == recordings[3].created_on


def test_counts_are_true_after_every_change(store):
    for minute in range(12):
        recording = add(store, minute)
        if minute % 2:
            analyse(store, recording)
            analyse(store, recording)
        for state in ("kept", "set_aside", "undecided", "deleted")[: minute % 5]:
            store.settle_recording(recording, None, state)
        store.store_recording(recording)
    with pytest.raises(ZeroDivisionError), store.transaction():
        analyse(store, add(store))
        _ = 1 / 0
    with store.database.transaction() as connection:
        connection.execute("DELETE FROM recording WHERE number = 1")
        tables = {
            "recordings": "recording",
            "model_outputs": "model_output",
            "detections": "detection",
            "kept": "recording WHERE state = 'kept'",
            "undecided": "recording WHERE state = 'undecided'",
        }
        counts = store.counts()
        for name, rows in tables.items():
            (number,) = connection.execute(f"SELECT count(*) FROM {rows}").fetchone()
            assert getattr(counts, name) == number > 0


def test_an_empty_store_counts_nothing(store):
    counts = store.counts()
    assert counts.recordings == 0
    assert counts.last_recording_on is None


def test_kept_recordings_come_oldest_first_while_they_are_deleted(store):
    recordings = [add(store, minute) for minute in (5, 1, 3)]
    for recording in recordings:
        store.update_recording_path(recording, Path("/kept"))
    add(store)
    seen = []
    for recording in KeptRecordings(store.database).oldest_first():
        store.update_recording_path(recording, None)
        seen.append(recording.id)
    assert seen == [recordings[k].id for k in (1, 2, 0)]


def test_the_best_recordings_of_each_tag_are_known(store):
    found = {}
    for minute, (tag, score) in enumerate(
        [("x", 0.5), ("x", 0.9), ("x", 0.9), ("x", 0.1), ("y", 0.2)]
    ):
        recording = add(store, minute)
        analyse(store, recording, tag=tag, score=score)
        store.update_recording_path(recording, Path("/kept"))
        found[minute] = recording.id
    kept = KeptRecordings(store.database)
    assert kept.best_of_each_tag(1) == {found[1], found[4]}
    assert kept.best_of_each_tag(2) == {found[1], found[2], found[4]}
    assert kept.best_of_each_tag(0) == set()


def test_totals_of_losses_count_every_row(store):
    with store.database.transaction() as connection:
        connection.executemany(
            "INSERT INTO loss (day, kind, reason, count, last_on) "
            "VALUES (?, 'samples', 'overflow', 2, ?)",
            [(f"day {n}", f"time {n}") for n in range(1500)],
        )
    store.add_loss("messages", 7, "expired")
    assert store.total_losses() == {"samples": 3000, "messages": 7}
    assert store.total_losses(limit=1) == {"samples": 3000}
