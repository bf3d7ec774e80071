from __future__ import annotations

import pytest

from acoupi.components import SqliteStore
from acoupi.components.recorders import Loss
from acoupi.components.stores import DatabaseUnavailable
from acoupi.components.types import (
    AudioRecorder,
    ContinuousRecorder,
    RecordingCondition,
)
from acoupi.tasks.record import generate_recording_task
from acoupi.testing import make_recording


class OpenRecorder(ContinuousRecorder):
    """Has finished some recordings, and lost something."""

    def __init__(self, recordings, losses=()) -> None:
        self.recordings = list(recordings)
        self.losses = list(losses)

    def record(self, deployment):
        raise AssertionError("an open recorder is harvested")

    def start(self, get_deployment, conditions=()) -> None: ...

    def stop(self) -> None: ...

    def harvest(self):
        while self.recordings:
            yield self.recordings.pop(0)

    def take_losses(self):
        losses, self.losses = self.losses, []
        return losses

    def take_back(self, loss) -> None:
        self.losses.append(loss)

    @property
    def healthy(self) -> bool:
        return True


class PlainRecorder(AudioRecorder):
    def __init__(self, recording) -> None:
        self.recording = recording
        self.deployments = []

    def record(self, deployment):
        self.deployments.append(deployment)
        return self.recording


class Condition(RecordingCondition):
    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.deployment = None

    def should_record(self, now=None) -> bool:
        return self.answer

    def use_deployment(self, deployment) -> None:
        self.deployment = deployment


@pytest.fixture
def store(tmp_path):
    return SqliteStore(tmp_path / "metadata.db")


def stored(store):
    return [recording.id for recording, _ in store.get_recordings()]


def test_everything_finished_is_stored_before_it_is_passed_on(store):
    recordings = [make_recording() for _ in range(3)]
    task = generate_recording_task(OpenRecorder(recordings), store)
    passed = []
    for recording in task():
        assert recording.id in stored(store)
        passed.append(recording)
    assert passed == recordings
    assert list(task()) == []


def test_what_was_lost_is_accounted_for_in_the_store(store):
    losses = [Loss("samples", 4096, "within recordings"), Loss("recordings", 2, "full")]
    task = generate_recording_task(OpenRecorder([], losses), store)
    assert list(task()) == []
    accounted = {(loss.kind, loss.count, loss.reason) for loss in store.get_losses()}
    assert accounted == {
        ("samples", 4096, "within recordings"),
        ("recordings", 2, "full"),
    }
    assert list(task()) == []
    assert len(store.get_losses()) == 2


def test_what_cannot_be_accounted_for_is_accounted_for_later(store, monkeypatch):
    recorder = OpenRecorder([], [Loss("samples", 4096, "within recordings")])
    task = generate_recording_task(recorder, store)

    def refuse(**_):
        raise DatabaseUnavailable("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(store, "add_loss", refuse)
        assert list(task()) == []
    assert store.get_losses() == []
    assert list(task()) == []
    assert store.total_losses() == {"samples": 4096}


@pytest.mark.parametrize("answers", [[], [True], [True, True]])
def test_a_plain_recorder_makes_one_when_every_condition_holds(store, answers):
    recorder = PlainRecorder(make_recording())
    conditions = [Condition(answer) for answer in answers]
    task = generate_recording_task(recorder, store, conditions)
    assert list(task()) == [recorder.recording]
    assert stored(store) == [recorder.recording.id]
    deployment = store.get_current_deployment()
    assert recorder.deployments == [deployment]
    assert all(condition.deployment == deployment for condition in conditions)


@pytest.mark.parametrize("answers", [[False], [True, False]])
def test_a_plain_recorder_makes_none_when_a_condition_fails(store, answers):
    recorder = PlainRecorder(make_recording())
    conditions = [Condition(answer) for answer in answers]
    assert list(generate_recording_task(recorder, store, conditions)()) == []
    assert recorder.deployments == []


def test_no_recording_is_nothing_to_pass_on(store):
    assert list(generate_recording_task(PlainRecorder(None), store)()) == []


def test_what_cannot_be_stored_is_back_with_the_recorder_at_once(tmp_path):
    class FullStore(SqliteStore):
        def store_recording(self, recording) -> None:
            raise OSError("no space left on device")

    class Recorder(OpenRecorder):
        def harvest(self):
            recording = self.recordings.pop(0)
            try:
                yield recording
            except GeneratorExit:
                self.recordings.insert(0, recording)
                raise

    recording = make_recording()
    recorder = Recorder([recording])
    task = generate_recording_task(recorder, FullStore(tmp_path / "store.db"))
    with pytest.raises(OSError, match="no space") as caught:
        list(task())
    assert caught.tb is not None, "which holds on to the task's frames"
    assert recorder.recordings == [recording]
