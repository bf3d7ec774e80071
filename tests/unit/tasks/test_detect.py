"""A recording is analysed once, whatever is repeated, and nothing is half stored."""

import contextlib
import datetime
import logging

import pytest

from acoupi import data
from acoupi.components import types
from acoupi.components.cleaners import ThresholdDetectionCleaner
from acoupi.components.outbox import SqliteMessageStore
from acoupi.components.stores import DatabaseUnavailable, SqliteStore
from acoupi.tasks import generate_detection_task
from acoupi.testing import FakeModel

START = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)


class FixedModel(types.Model):
    def __init__(self, name="fixed", error=None):
        self.name = name
        self.error = error
        self.runs = 0

    def run(self, recording):
        self.runs += 1
        if self.error is not None:
            raise self.error
        return data.ModelOutput(
            name_model=self.name,
            recording=recording,
            detections=[data.Detection(detection_score=s) for s in (0.1, 0.8)],
        )


class Cleaner(types.ModelOutputCleaner):
    def clean(self, model_output):
        best = [d for d in model_output.detections if d.detection_score > 0.5]
        return model_output.model_copy(update={"detections": best})


class Refuse(types.ProcessingFilter):
    def should_process(self, recording):
        return False


class BrokenFilter(types.ProcessingFilter):
    def should_process(self, recording):
        raise ValueError


class Builder(types.MessageBuilder):
    def build_message(self, model_output):
        count = len(model_output.detections)
        return [data.Message(content=f"{count} found"), data.Message(content=b"\0")]


class BrokenBuilder(types.MessageBuilder):
    def build_message(self, model_output):
        raise ValueError


@pytest.fixture
def store(tmp_path) -> SqliteStore:
    return SqliteStore(tmp_path / "acoupi.db")


@pytest.fixture
def outbox(tmp_path) -> SqliteMessageStore:
    return SqliteMessageStore(tmp_path / "acoupi.db", ["mqtt"])


@pytest.fixture
def recording(tmp_path) -> data.Recording:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    return data.Recording(
        created_on=START,
        duration=1,
        samplerate=8000,
        deployment=data.Deployment(name="wood"),
        path=path,
    )


def dump(store):
    with store.database.reading() as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
        ).fetchall()
        return {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()
            for (name,) in tables
        }


def test_an_output_is_cleaned_stored_and_told_about(store, outbox, recording):
    detect = generate_detection_task(
        store, [FixedModel()], [Cleaner()], [], [Builder()], outbox
    )
    assert detect(recording) is None
    ((found, (output,)),) = store.get_recordings()
    assert found == recording
    assert [d.detection_score for d in output.detections] == [0.8]
    assert [m.content for m in outbox.due("mqtt")] == ["1 found", b"\0"]


@pytest.mark.parametrize(("threshold", "lines"), [(0.5, 1), (0.9, 0)])
def test_a_recording_takes_a_line_of_the_log_when_something_is_in_it(
    store, recording, caplog, threshold, lines
):
    caplog.set_level(logging.INFO)
    cleaner = ThresholdDetectionCleaner(threshold)
    detect = generate_detection_task(store, [FixedModel()], [cleaner])
    detect(recording)
    assert caplog.text.count("\n") == lines
    assert caplog.text.count("fixed found 1 in") == lines


def test_redelivery_changes_nothing_in_store_or_outbox(store, outbox, recording):
    model = FixedModel()
    detect = generate_detection_task(
        store, [model], message_factories=[Builder()], message_store=outbox
    )
    detect(recording)
    before = dump(store)
    for _ in range(3):
        detect(recording)
    assert dump(store) == before
    assert model.runs == 1
    # another process that was at it at the same time
    other = generate_detection_task(
        store, [FixedModel()], message_factories=[Builder()], message_store=outbox
    )
    store.get_unfinished_models = lambda recording, names: list(names)
    store.note_attempt = lambda recording, name: 1
    other(recording)
    assert dump(store) == before


def test_redelivery_after_the_file_was_moved_changes_nothing(
    store, recording, tmp_path
):
    model = FixedModel()
    detect = generate_detection_task(store, [model])
    detect(recording)
    store.update_recording_path(
        recording, recording.path.rename(tmp_path / "moved.wav")
    )
    before = dump(store)
    detect(recording)
    assert dump(store) == before


def test_output_and_messages_are_stored_together_or_not_at_all(
    store, outbox, recording, monkeypatch
):
    detect = generate_detection_task(
        store, [FixedModel()], message_factories=[Builder()], message_store=outbox
    )
    real = outbox.store_message
    calls = []

    def fail_at_the_second(message):
        calls.append(message)
        if len(calls) == 2:
            raise DatabaseUnavailable("no space")
        return real(message)

    monkeypatch.setattr(outbox, "store_message", fail_at_the_second)
    with pytest.raises(DatabaseUnavailable, match="no space"):
        detect(recording)
    assert store.get_recordings() == [(recording, [])]
    assert outbox.due("mqtt") == []
    monkeypatch.undo()
    detect(recording)
    assert len(store.get_recordings()[0][1]) == 1
    assert len(outbox.due("mqtt")) == 2


def test_a_disk_that_refuses_does_not_count_against_the_model(
    store, recording, monkeypatch
):
    def refuse(output):
        raise DatabaseUnavailable("no space")

    detect = generate_detection_task(store, [FixedModel()], max_attempts=1)
    with monkeypatch.context() as patch:
        patch.setattr(store, "store_model_output", refuse)
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable):
                detect(recording)
    detect(recording)
    assert len(store.get_recordings()[0][1]) == 1


def test_messages_in_another_file_are_never_doubled(store, tmp_path, recording):
    outbox = SqliteMessageStore(tmp_path / "other.db", ["mqtt"])
    detect = generate_detection_task(
        store, [FixedModel()], message_factories=[Builder()], message_store=outbox
    )
    real = store.database.transaction

    class PowerCut(BaseException):
        pass

    @contextlib.contextmanager
    def cut_before_commit():
        with real():
            yield
            raise PowerCut

    store.transaction = cut_before_commit
    with pytest.raises(PowerCut):
        detect(recording)
    del store.transaction
    assert store.get_recordings() == [(recording, [])]
    detect(recording)
    assert len(store.get_recordings()[0][1]) == 1
    assert len(outbox.due("mqtt")) == 2


def test_a_model_that_raises_is_tried_again_and_then_given_up(store, recording):
    model = FixedModel(error=ValueError("bad sound"))
    detect = generate_detection_task(store, [model], max_attempts=3)
    for _ in range(5):
        detect(recording)
    assert model.runs == 3
    assert store.get_failures(recording) == {"fixed": "raised ValueError: bad sound"}
    assert store.get_recordings() == [(recording, [])]
    (loss,) = store.get_losses()
    assert (loss.kind, loss.count) == ("analyses", 1)


def test_a_model_that_kills_its_process_is_given_up(store, recording):
    class Killed(BaseException):
        pass

    model = FixedModel(error=Killed())
    for _ in range(3):
        with pytest.raises(Killed):
            generate_detection_task(store, [model])(recording)
    generate_detection_task(store, [model])(recording)
    assert model.runs == 3
    assert store.get_failures(recording) == {"fixed": "ended the process 3 times"}


def test_what_was_given_up_between_the_look_and_the_start_is_not_analysed(
    store, recording, monkeypatch
):
    note = store.note_attempt

    def give_up_first(recording, name):
        store.note_failure(recording, name, "no time")
        return note(recording, name)

    monkeypatch.setattr(store, "note_attempt", give_up_first)
    model = FakeModel()
    generate_detection_task(store, [model])(recording)
    assert model.seen == []
    assert store.get_failures(recording) == {model.name: "no time"}


def test_a_model_that_recovers_leaves_no_trace_of_its_failures(store, recording):
    model = FixedModel(error=ValueError())
    detect = generate_detection_task(store, [model])
    detect(recording)
    model.error = None
    detect(recording)
    assert store.get_failures(recording) == {}
    assert len(store.get_recordings()[0][1]) == 1


def test_a_model_that_fails_does_not_keep_others_from_working(store, recording):
    broken, good = FixedModel("broken", ValueError()), FixedModel("good")
    generate_detection_task(store, [broken, good])(recording)
    ((_, (output,)),) = store.get_recordings()
    assert output.name_model == "good"


def test_an_output_under_another_name_is_a_failure_that_says_so(store, recording):
    class Misnamed(FixedModel):
        def run(self, recording):
            return super().run(recording).model_copy(update={"name_model": "else"})

    generate_detection_task(store, [Misnamed()], max_attempts=1)(recording)
    assert "both names must be the same" in store.get_failures(recording)["fixed"]


def test_who_comes_second_does_not_fail_when_the_file_is_gone(store, recording):
    class Overtaken(FixedModel):
        def run(self, recording):
            generate_detection_task(store, [FixedModel()])(recording)
            recording.path.unlink()
            raise FileNotFoundError(recording.path)

    generate_detection_task(store, [Overtaken()], max_attempts=2)(recording)
    assert len(store.get_recordings()[0][1]) == 1
    assert store.get_failures(recording) == {}
    assert store.get_losses() == []


def test_an_output_that_no_database_can_hold_is_a_failure_of_its_model(
    store, recording
):
    class Nameless(FixedModel):
        def run(self, recording):
            tag = data.PredictedTag(data.Tag("species", None))
            output = super().run(recording)
            found = [data.Detection(tags=[tag])]
            return output.model_copy(update={"detections": found})

    model = Nameless()
    detect = generate_detection_task(store, [model], max_attempts=2)
    for _ in range(4):
        detect(recording)
    assert model.runs == 2
    assert "IntegrityError" in store.get_failures(recording)["fixed"]
    assert store.get_recordings() == [(recording, [])]


def test_a_refused_recording_is_done_without_an_output(store, recording):
    model = FixedModel()
    generate_detection_task(store, [model], processing_filters=[Refuse()])(recording)
    assert model.runs == 0
    assert store.pending(["fixed"]) == []
    assert store.get_recordings() == [(recording, [])]


def test_a_filter_that_fails_costs_no_detections(store, recording):
    model = FixedModel()
    generate_detection_task(store, [model], processing_filters=[BrokenFilter()])(
        recording
    )
    assert len(store.get_recordings()[0][1]) == 1


def test_a_builder_that_fails_costs_its_message_only(store, outbox, recording):
    builders = [BrokenBuilder(), Builder()]
    generate_detection_task(
        store, [FixedModel()], message_factories=builders, message_store=outbox
    )(recording)
    assert len(store.get_recordings()[0][1]) == 1
    assert len(outbox.due("mqtt")) == 2
    assert [loss.reason for loss in store.get_losses()] == ["BrokenBuilder failed"]


def test_a_recording_whose_file_is_gone_is_not_analysed(store, recording):
    model = FixedModel()
    recording.path.unlink()
    generate_detection_task(store, [model])(recording)
    assert model.runs == 0


def test_the_file_is_looked_for_where_it_is_now(store, recording, tmp_path):
    store.store_recording(recording)
    moved = store.update_recording_path(recording, tmp_path / "b.wav")
    recording.path.rename(moved.path)
    seen = []

    class Looking(FixedModel):
        def run(self, recording):
            seen.append(recording.path)
            return super().run(recording)

    generate_detection_task(store, [Looking()])(recording)
    assert seen == [moved.path]
