"""Whatever a file's state, it ends kept, deleted or set aside within two runs."""

import datetime
import errno
import os
import shutil
import time
from pathlib import Path

import pytest

from acoupi import data
from acoupi.audio.guano import Guano
from acoupi.audio.soundfiles import SoundFormat, WavWriter, read_info
from acoupi.components import types
from acoupi.components.recorders.pending import PendingFiles
from acoupi.components.saving import Retention, SaveRecordingManager, SavingThreshold
from acoupi.components.stores import DatabaseUnavailable, SqliteStore
from acoupi.components.types import Store
from acoupi.tasks import (
    generate_detection_task,
    generate_file_management_task,
    generate_reconcile_task,
)

START = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)
RATE = 8000


class Sensor:
    """A temporary directory, a store and the tasks over them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tmp = root / "tmp"
        self.tmp.mkdir()
        self.kept = root / "recordings"
        self.aside = root / "aside"
        self.store = SqliteStore(root / "acoupi.db")
        self.deployment = data.Deployment(name="wood")
        self.store.store_deployment(self.deployment)
        self.number = 0

    def describe(self) -> tuple[data.Recording, Guano]:
        self.number += 1
        recording = data.Recording(
            created_on=START + datetime.timedelta(seconds=self.number),
            duration=0.1,
            samplerate=RATE,
            deployment=self.deployment,
            path=self.tmp / f"{self.number}.wav",
        )
        return recording, Guano.for_recording(recording)

    def write(self, *, stored=True, frames=800, named=True) -> data.Recording:
        recording, guano = self.describe()
        metadata = guano if named else Guano()
        sound = SoundFormat(RATE, 1)
        with WavWriter(recording.path, sound, 800, metadata) as writer:
            writer.write(os.urandom(2 * frames))
            writer.finish()
        if stored:
            self.store.store_recording(recording)
        return recording

    def keeper(self, *managers, **options):
        given = {"tmp_path": self.tmp, "set_aside_path": self.aside, "quiet": 0}
        return generate_file_management_task(
            self.store,
            managers or [SaveRecordingManager(self.kept)],
            **{**given, **options},
        )

    def waiting(self) -> list[str]:
        return sorted(path.name for path in self.tmp.iterdir())

    def kept_files(self) -> list[Path]:
        return sorted(p for p in self.kept.rglob("*") if p.is_file())

    def reasons(self) -> dict[str, str]:
        return {
            path.name.removesuffix(".reason.txt"): path.read_text().strip()
            for path in self.aside.glob("*.reason.txt")
        }

    def state(self, recording) -> str | None:
        return self.store.get_state(recording)


@pytest.fixture
def sensor(tmp_path) -> Sensor:
    return Sensor(tmp_path)


class EmptyModel(types.Model):
    name = "model"

    def run(self, recording):
        return data.ModelOutput(name_model=self.name, recording=recording)


class RaisingModel(types.Model):
    name = "model"

    def run(self, recording):
        raise ValueError("bad sound")


class Refuse(types.ProcessingFilter):
    def should_process(self, recording):
        return False


class BrokenManager(types.RecordingSavingManager):
    def save_recording(self, recording, model_outputs=None):
        raise ValueError("a mistake")


class Pass(types.RecordingSavingManager):
    def save_recording(self, recording, model_outputs=None):
        return None


class Never(types.RecordingSavingFilter):
    def should_save_recording(self, recording, model_outputs=None):
        return False


class Always(types.RecordingSavingFilter):
    def should_save_recording(self, recording, model_outputs=None):
        return True


class Broken(types.RecordingSavingFilter):
    def should_save_recording(self, recording, model_outputs=None):
        raise ValueError


# Ordinary ways.


def test_a_recording_that_no_model_must_see_is_kept(sensor):
    recording = sensor.write()
    sound = recording.path.read_bytes()
    sensor.keeper()()
    assert sensor.waiting() == []
    (path,) = sensor.kept_files()
    assert path.read_bytes() == sound
    ((found, _),) = sensor.store.get_recordings()
    assert found == recording.model_copy(update={"path": path})
    assert sensor.state(recording) == "kept"


def test_a_recording_waits_for_its_model(sensor):
    recording = sensor.write()
    keep = sensor.keeper(required_models=["model"])
    keep()
    keep()
    assert sensor.waiting() == [recording.path.name]
    sensor.store.store_model_output(EmptyModel().run(recording))
    keep()
    assert sensor.waiting() == []


def test_a_recording_that_no_filter_wants_is_deleted(sensor):
    recording = sensor.write()
    sensor.keeper(file_filters=[Never(), SavingThreshold(0.1)])()
    assert sensor.waiting() == []
    assert sensor.kept_files() == []
    assert sensor.state(recording) == "deleted"
    assert sensor.store.get_reason(recording) == "no filter wanted it"


@pytest.mark.parametrize("also", [Always(), Broken()])
def test_one_filter_is_enough_to_keep(sensor, also):
    sensor.write()
    sensor.keeper(file_filters=[Never(), also])()
    assert len(sensor.kept_files()) == 1


def test_filters_learn_the_place_of_the_recording(sensor):
    places = []

    class Listening(Always):
        def use_deployment(self, deployment):
            places.append(deployment.name)

    sensor.write()
    sensor.write()
    sensor.keeper(file_filters=[Listening()])()
    assert places == ["wood"]


def test_the_first_manager_that_takes_it_wins(sensor):
    sensor.write()
    other = SaveRecordingManager(sensor.root / "other")
    sensor.keeper(Pass(), other, SaveRecordingManager(sensor.kept))()
    assert sensor.kept_files() == []
    assert len(list(other.dirpath.iterdir())) == 1


def test_what_no_manager_takes_is_deleted(sensor):
    recording = sensor.write()
    sensor.keeper(Pass())()
    assert sensor.waiting() == []
    assert sensor.state(recording) == "deleted"


def test_a_manager_that_moves_and_one_that_keeps_in_place_work_too(sensor):
    class Move(types.RecordingSavingManager):
        def save_recording(self, recording, model_outputs=None):
            sensor.kept.mkdir(exist_ok=True)
            return Path(shutil.move(recording.path, sensor.kept))

    recording = sensor.write()
    sensor.keeper(Move())()
    assert sensor.kept_files() == [sensor.kept / recording.path.name]

    class InPlace(types.RecordingSavingManager):
        def save_recording(self, recording, model_outputs=None):
            return recording.path

    recording = sensor.write()
    keep = sensor.keeper(InPlace())
    keep()
    keep()
    assert recording.path.exists()
    assert sensor.state(recording) == "kept"


def test_flac_is_kept_in_place_of_wav(sensor):
    sensor.write()
    sensor.keeper(SaveRecordingManager(sensor.kept, file_format="flac"))()
    assert sensor.waiting() == []
    assert [p.suffix for p in sensor.kept_files()] == [".flac"]


def test_only_one_run_works_at_a_time(sensor):
    sensor.write()
    inner_waiting = []

    class Nested(types.RecordingSavingManager):
        def save_recording(self, recording, model_outputs=None):
            sensor.keeper()()
            inner_waiting.extend(sensor.waiting())

    sensor.keeper(Nested())()
    assert inner_waiting == ["1.wav"]


# Unusual ways, each ended within two runs.


def run_twice(sensor, *managers, **options):
    keep = sensor.keeper(*managers, **options)
    keep()
    keep()
    assert sensor.waiting() == []


def test_refused_by_a_filter(sensor):
    recording = sensor.write()
    generate_detection_task(
        sensor.store, [EmptyModel()], processing_filters=[Refuse()]
    )(recording)
    run_twice(sensor, required_models=["model"])
    assert sensor.state(recording) == "kept"


def test_the_model_raised(sensor):
    recording = sensor.write()
    detect = generate_detection_task(sensor.store, [RaisingModel()], max_attempts=2)
    detect(recording)
    detect(recording)
    run_twice(sensor, required_models=["model"])
    assert sensor.state(recording) == "set_aside"
    assert sensor.reasons() == {"1.wav": "model raised ValueError: bad sound"}
    ((found, _),) = sensor.store.get_recordings()
    assert found.path == sensor.aside / "1.wav"
    assert read_info(found.path).complete


def test_the_callback_was_never_queued(sensor):
    recording = sensor.write()
    detect = generate_detection_task(sensor.store, [EmptyModel()])
    keep = sensor.keeper(SaveRecordingManager(sensor.kept), required_models=["model"])
    keep()
    generate_reconcile_task(sensor.store, detect, ["model"])()
    keep()
    assert sensor.waiting() == []
    # an output without a detection is below every threshold
    assert sensor.state(recording) == "deleted"


def test_the_row_is_missing(sensor):
    recording = sensor.write(stored=False)
    run_twice(sensor)
    ((found, _),) = sensor.store.get_recordings()
    assert found.id == recording.id
    assert found.created_on == recording.created_on
    assert found.deployment.id == sensor.deployment.id
    assert len(sensor.kept_files()) == 1


def test_the_row_is_missing_and_a_model_is_required(sensor):
    recording = sensor.write(stored=False)
    keep = sensor.keeper(required_models=["model"])
    keep()
    detect = generate_detection_task(sensor.store, [EmptyModel()])
    generate_reconcile_task(sensor.store, detect, ["model"])()
    keep()
    assert sensor.waiting() == []
    assert sensor.state(recording) == "deleted"


def test_the_row_is_missing_and_the_file_does_not_say_whose_it_is(sensor):
    sensor.write(stored=False, named=False)
    run_twice(sensor)
    ((found, _),) = sensor.store.get_recordings()
    assert found.deployment.id == sensor.deployment.id
    assert len(sensor.kept_files()) == 1


@pytest.mark.parametrize("frames", [799, 400, 1])
def test_a_part_was_left(sensor, frames):
    recording, guano = sensor.describe()
    writer = WavWriter(recording.path, SoundFormat(RATE, 1), 800, guano)
    writer.write(b"\1\2" * frames)
    writer.close()
    run_twice(sensor)
    (path,) = sensor.kept_files()
    assert read_info(path).frames == frames
    ((found, _),) = sensor.store.get_recordings()
    assert found.id == recording.id
    assert found.duration == pytest.approx(frames / RATE)


def test_a_part_that_is_still_written_is_left_alone(sensor):
    recording, guano = sensor.describe()
    writer = WavWriter(recording.path, SoundFormat(RATE, 1), 800, guano)
    writer.write(b"\1\2" * 400)
    keep = sensor.keeper()
    keep()
    keep()
    assert sensor.waiting() == ["1.wav.part"]
    writer.write(b"\1\2" * 400)
    writer.finish()
    keep()
    assert read_info(sensor.kept_files()[0]).frames == 800


def test_a_file_that_was_just_touched_is_left_alone(sensor):
    (sensor.tmp / "other.txt").write_text("?")
    keep = sensor.keeper(quiet=60)
    keep()
    keep()
    assert sensor.waiting() == ["other.txt"]
    long_ago = time.time() - 61
    os.utime(sensor.tmp / "other.txt", (long_ago, long_ago))
    keep()
    assert sensor.waiting() == []


def test_a_recording_that_was_just_finished_is_left_to_the_recording_task(
    sensor, caplog
):
    recording = sensor.write(stored=False)
    sensor.keeper(quiet=60)()
    assert sensor.store.get_recordings() == []
    assert caplog.text == ""
    long_ago = time.time() - 61
    os.utime(recording.path, (long_ago, long_ago))
    sensor.keeper(quiet=60)()
    assert sensor.state(recording) == "kept"


@pytest.mark.parametrize(
    ("name", "content", "outcome"),
    [
        ("1.wav.part", b"", "removed"),
        ("1.wav", b"", "removed"),
        ("1.wav.part", b"RIFF", "aside"),
        ("1.wav", b"RIFF" + bytes(100), "aside"),
        ("1.wav", b"no sound at all", "aside"),
        ("1.flac", b"fLaC" + bytes(20), "aside"),
        ("1.wav.part.damaged", b"?", "aside"),
        ("notes.txt", b"?", "aside"),
        (".hidden.tmp", b"?", "aside"),
        ("\udcff.wav", b"?", "aside"),
    ],
)
def test_something_else_was_left(sensor, name, content, outcome):
    (sensor.tmp / name).write_bytes(content)
    run_twice(sensor)
    assert sensor.store.get_recordings() == []
    reasons = sensor.reasons()
    assert len(reasons) == (outcome == "aside")
    assert all(reasons.values())


def test_a_sound_file_whose_name_is_no_text_was_left(sensor):
    recording = sensor.write(stored=False)
    recording.path.rename(sensor.tmp / "\udcff.wav")
    run_twice(sensor)
    assert list(sensor.reasons()) == ["_.wav"]


def test_a_header_without_sound_was_left_and_is_counted(sensor):
    recording, guano = sensor.describe()
    WavWriter(recording.path, SoundFormat(RATE, 1), 800, guano).close()
    run_twice(sensor)
    assert sensor.reasons() == {}
    assert [loss.kind for loss in sensor.store.get_losses()] == ["recordings"]


def test_a_whole_file_that_is_shorter_than_it_says_is_repaired(sensor):
    recording = sensor.write(stored=False)
    os.truncate(recording.path, recording.path.stat().st_size - 100)
    run_twice(sensor)
    (path,) = sensor.kept_files()
    assert read_info(path).frames == 750


def test_the_original_of_a_finished_move_is_removed(sensor):
    recording = sensor.write()
    content = recording.path.read_bytes()
    sensor.keeper()()
    recording.path.write_bytes(content)
    run_twice(sensor)
    assert len(sensor.kept_files()) == 1
    assert sensor.state(recording) == "kept"


def test_the_original_of_a_finished_move_without_a_name_is_removed(sensor):
    recording = sensor.write(named=False)
    content = recording.path.read_bytes()
    sensor.keeper()()
    recording.path.write_bytes(content)
    run_twice(sensor)
    assert len(sensor.kept_files()) == 1


def test_another_sound_under_a_used_name_is_not_lost(sensor):
    recording = sensor.write(named=False)
    sensor.keeper()()
    sensor.number -= 1
    sensor.write(stored=False, named=False)
    run_twice(sensor)
    assert len(sensor.kept_files()) == 1
    assert "decided before" in sensor.reasons()[recording.path.name]


def test_a_deletion_cut_short_is_finished(sensor):
    recording = sensor.write()
    content = recording.path.read_bytes()
    sensor.keeper(file_filters=[Never()])()
    recording.path.write_bytes(content)
    run_twice(sensor)
    assert sensor.kept_files() == []
    assert sensor.state(recording) == "deleted"


def test_a_kept_file_that_vanished_is_kept_anew_from_its_original(sensor):
    recording = sensor.write()
    content = recording.path.read_bytes()
    sensor.keeper()()
    sensor.kept_files()[0].unlink()
    recording.path.write_bytes(content)
    run_twice(sensor)
    assert len(sensor.kept_files()) == 1


def test_a_recording_whose_file_is_gone_is_noted_as_missing(sensor):
    for models in ([], ["model"]):
        recording = sensor.write()
        recording.path.unlink()
        run_twice(sensor, required_models=models)
        assert sensor.state(recording) == "missing"


def test_a_file_thought_missing_that_returns_is_kept(sensor):
    recording = sensor.write()
    hidden = recording.path.rename(sensor.root / "hidden")
    run_twice(sensor)
    hidden.rename(recording.path)
    run_twice(sensor)
    assert sensor.state(recording) == "kept"


def test_a_manager_that_fails_twice_has_the_recording_set_aside(sensor):
    recording = sensor.write()
    run_twice(sensor, BrokenManager())
    assert sensor.state(recording) == "set_aside"
    assert sensor.reasons() == {"1.wav": "ValueError: a mistake"}


def test_a_manager_that_lies_about_the_path_loses_nothing(sensor):
    class Liar(types.RecordingSavingManager):
        def save_recording(self, recording, model_outputs=None):
            return Path("/nonexistent/a.wav")

    recording = sensor.write()
    run_twice(sensor, Liar())
    assert sensor.state(recording) == "set_aside"


def test_one_recording_that_fails_does_not_hold_up_others(sensor):
    first, second = sensor.write(), sensor.write()

    class Picky(SaveRecordingManager):
        def save_recording(self, recording, model_outputs=None):
            if recording.id == first.id:
                raise ValueError
            return super().save_recording(recording, model_outputs)

    sensor.keeper(Picky(sensor.kept))()
    assert sensor.state(second) == "kept"


def test_a_full_disk_loses_nothing_and_work_resumes(sensor):
    recordings = [sensor.write(), sensor.write()]
    full = [True]
    asked = []

    class Full(SaveRecordingManager):
        def save_recording(self, recording, model_outputs=None):
            asked.append(recording.id)
            if full[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().save_recording(recording, model_outputs)

    keep = sensor.keeper(Full(sensor.kept))
    for _ in range(4):
        keep()
    assert sensor.waiting() == ["1.wav", "2.wav"]
    # no use in asking for the others
    assert asked == [recordings[0].id] * 4
    full[0] = False
    keep()
    assert sensor.waiting() == []
    assert len(sensor.kept_files()) == 2


def test_a_place_that_is_gone_is_no_recordings_fault_and_said_in_a_line(sensor, caplog):
    manager = SaveRecordingManager(sensor.root / "disk" / "recordings")
    shutil.rmtree(sensor.root / "disk")
    (sensor.root / "disk").write_text("not mounted")
    recordings = [sensor.write() for _ in range(3)]
    keep = sensor.keeper(manager)
    for _ in range(3):
        caplog.clear()
        keep()
        assert caplog.text.count("\n") == 1
        assert "disk/recordings" in caplog.text
    assert sensor.reasons() == {}
    (sensor.root / "disk").unlink()
    caplog.clear()
    keep()
    assert {sensor.state(recording) for recording in recordings} == {"kept"}
    assert caplog.text == ""


def test_a_database_that_takes_nothing_does_not_keep_room_from_being_made(
    sensor, monkeypatch
):
    sensor.write()
    made_room = []

    class Room(Retention):
        def apply(self, store, now=None):
            made_room.append(store)
            return 0

    def refuse(*_):
        raise DatabaseUnavailable("the disk is full")

    monkeypatch.setattr(sensor.store, "settle_recording", refuse)
    with pytest.raises(DatabaseUnavailable):
        sensor.keeper(retention=Room(sensor.root))()
    assert made_room == [sensor.store]


def test_a_recording_is_not_kept_waiting_for_a_model_for_ever(sensor):
    recording = sensor.write()
    keep = sensor.keeper(
        required_models=["gone"], overdue=datetime.timedelta(0), file_filters=[Never()]
    )
    keep()
    assert sensor.waiting() == []
    assert sensor.state(recording) == "kept"
    assert "not analysed within" in sensor.store.get_reason(recording)
    assert sensor.store.total_losses() == {"analyses": 1}


def test_when_too_much_waits_the_oldest_are_kept_unanalysed_and_counted(sensor):
    waiting = [sensor.write() for _ in range(8)]
    size = waiting[0].path.stat().st_size
    models = ["model", "other"]
    sensor.store.store_model_output(EmptyModel().run(waiting[0]))
    keep = sensor.keeper(
        required_models=models,
        file_filters=[Never()],
        waiting_room=PendingFiles(sensor.tmp, 10 * size),
    )
    keep()
    keep()
    assert [sensor.state(one) for one in waiting] == ["kept"] * 3 + ["undecided"] * 5
    assert len(sensor.kept_files()) == 3
    losses = {loss.reason: loss.count for loss in sensor.store.get_losses()}
    assert {reason.split(":")[0]: n for reason, n in losses.items()} == {
        "model": 2,
        "other": 3,
    }
    # A model that comes to one of them later does not begin.
    kept = sensor.store.get_recordings([waiting[1].id])[0][0]
    generate_detection_task(sensor.store, [RaisingModel()])(kept)
    assert sensor.store.get_recordings([kept.id])[0][1] == []


def test_what_a_model_is_working_on_is_not_taken_from_it(sensor):
    waiting = [sensor.write() for _ in range(8)]
    size = waiting[0].path.stat().st_size
    sensor.store.note_attempt(waiting[0], "model")
    room = PendingFiles(sensor.tmp, 10 * size)
    sensor.keeper(required_models=["model"], waiting_room=room)()
    assert sensor.state(waiting[0]) == "undecided"
    assert sensor.state(waiting[1]) == "kept"
    assert sensor.store.total_losses() == {"analyses": 3}


def test_without_that_choice_they_wait_until_the_recorder_drops_them(sensor):
    waiting = [sensor.write() for _ in range(8)]
    sensor.keeper(required_models=["model"])()
    assert {sensor.state(one) for one in waiting} == {"undecided"}


def test_a_backlog_does_not_hold_up_what_is_done(sensor):
    waiting = [sensor.write() for _ in range(5)]
    done = sensor.write()
    sensor.store.store_model_output(EmptyModel().run(done))
    sensor.keeper(Pass(), required_models=["model"])()
    assert sensor.state(done) == "deleted"
    assert {sensor.state(recording) for recording in waiting} == {"undecided"}


def test_directories_in_the_temporary_directory_are_left_alone(sensor):
    (sensor.tmp / "folder").mkdir()
    sensor.keeper()()
    assert sensor.waiting() == ["folder"]


def test_a_temporary_directory_that_is_not_there_is_no_trouble(sensor):
    sensor.tmp.rmdir()
    sensor.keeper()()


def test_a_plain_store_is_enough(sensor):
    """A store of somebody else has only the abstract methods."""

    class Plain(Store):
        def __init__(self, store):
            for name in Store.__abstractmethods__:
                setattr(type(self), name, self._delegate(getattr(store, name)))

        @staticmethod
        def _delegate(method):
            return lambda _, *args, **kwargs: method(*args, **kwargs)

    Plain.__abstractmethods__ = frozenset()
    recording = sensor.write()
    sensor.store, real = Plain(sensor.store), sensor.store
    keep = sensor.keeper(SaveRecordingManager(sensor.kept), required_models=["model"])
    keep()
    assert sensor.waiting() == ["1.wav"]
    output = EmptyModel().run(recording)
    real.store_model_output(output)
    keep()
    assert sensor.waiting() == []


def test_nothing_is_taken_up_twice(sensor):
    sensor.write(stored=False)
    sensor.write(stored=False, named=False)
    keep = sensor.keeper(required_models=["model"])
    keep()
    keep()
    assert sensor.store.counts().recordings == 2
