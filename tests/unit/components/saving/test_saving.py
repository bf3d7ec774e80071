"""Where recordings go, what makes them worth keeping, what makes room."""

import datetime
import os
from pathlib import Path
from uuid import UUID

import pytest

from acoupi import data
from acoupi.audio.guano import Guano
from acoupi.audio.soundfiles import SoundFormat, WavWriter, read_info
from acoupi.components.cleaners import TagKeyCleaner, ThresholdDetectionCleaner
from acoupi.components.processing_filters import (
    HasLength,
    IsLoudEnough,
    IsUninterrupted,
)
from acoupi.components.saving import (
    HasTag,
    Retention,
    SaveRecordingManager,
    SavingThreshold,
    SetAsideFolder,
)
from acoupi.components.saving.managers import PlaceError
from acoupi.components.stores import SqliteStore
from acoupi.errors import ConfigurationError

START = datetime.datetime(2026, 5, 1, 4, 30, 7, 123456, tzinfo=datetime.UTC)


def make_recording(folder: Path, number: int = 0, **fields) -> data.Recording:
    """Make a recording with a file of a tenth of a second."""
    recording = data.Recording(
        created_on=START + datetime.timedelta(minutes=number),
        duration=0.1,
        samplerate=8000,
        deployment=data.Deployment(name="wood"),
        path=folder / f"{number}.wav",
        id=UUID(int=number + 1, version=4),
        **fields,
    )
    guano = Guano.for_recording(recording)
    with WavWriter(recording.path, SoundFormat(8000, 1), 800, guano) as writer:
        writer.write(bytes(range(160)) * 10)
        writer.finish()
    return recording


def output_of(recording, *scores, tag="Myotis"):
    return data.ModelOutput(
        name_model="model",
        recording=recording,
        detections=[
            data.Detection(
                detection_score=score,
                tags=[data.PredictedTag(data.Tag("species", tag), score)],
            )
            for score in scores
        ],
    )


@pytest.fixture
def recording(tmp_path):
    return make_recording(tmp_path / "tmp")


@pytest.fixture
def manager(tmp_path):
    return SaveRecordingManager(
        dirpath=tmp_path / "all",
        dirpath_true=tmp_path / "true",
        dirpath_false=tmp_path / "false",
    )


def test_the_constructor_makes_the_directories(manager, tmp_path):
    for name in ("all", "true", "false"):
        assert (tmp_path / name).is_dir()


@pytest.mark.parametrize(
    ("scores", "folder"),
    [
        ((0.6,), "true"),
        ((0.1, 0.9), "true"),
        ((0.3,), "false"),
        ((0.59, 0.1), "false"),
        ((0.29,), None),
        ((), None),
    ],
)
def test_the_best_detection_decides_where_it_goes(
    manager, recording, tmp_path, scores, folder
):
    path = manager.save_recording(recording, [output_of(recording, *scores)])
    assert (path.parent if path else None) == (tmp_path / folder if folder else None)


@pytest.mark.parametrize("outputs", [None, []])
def test_without_outputs_it_goes_to_the_first_directory(
    manager, recording, tmp_path, outputs
):
    path = manager.save_recording(recording, outputs)
    assert path == tmp_path / "all" / "20260501_043007_123_00000000.wav"
    assert path.read_bytes() == recording.path.read_bytes()


def test_saving_again_gives_the_same_file(manager, recording):
    assert manager.save_recording(recording) == manager.save_recording(recording)
    assert len(list(manager.dirpath.iterdir())) == 1


def test_names_are_unique_within_a_millisecond(manager, recording):
    other = recording.model_copy(update={"id": UUID(int=2**127)})
    assert manager.save_recording(recording) != manager.save_recording(other)


def test_the_time_format_may_make_directories(recording, tmp_path):
    manager = SaveRecordingManager(tmp_path / "all", timeformat="%Y/%m-%d/%H")
    path = manager.save_recording(recording)
    assert path.parent == tmp_path / "all" / "2026" / "05-01"


def test_flac_is_smaller_and_carries_the_metadata(recording, tmp_path):
    manager = SaveRecordingManager(tmp_path / "all", file_format="flac")
    path = manager.save_recording(recording)
    info = read_info(path)
    assert path.suffix == ".flac"
    assert info.frames == 800
    assert info.metadata.recording_id == recording.id
    assert recording.path.exists()


def test_what_flac_cannot_hold_is_kept_as_it_is(recording, tmp_path):
    recording.path.write_bytes(b"no sound")
    manager = SaveRecordingManager(tmp_path / "all", file_format="flac")
    path = manager.save_recording(recording)
    assert path.suffix == ".wav"
    assert path.read_bytes() == b"no sound"


def test_a_full_directory_is_searched_for_leftovers_once_only(tmp_path, monkeypatch):
    manager = SaveRecordingManager(
        tmp_path, tmp_path / "true", tmp_path / "false", detection_threshold=0.6
    )
    searched = []
    real = Path.glob

    def count(path, pattern):
        searched.append(path)
        return real(path, pattern)

    monkeypatch.setattr(Path, "glob", count)
    for number in range(3):
        recording = make_recording(tmp_path, number)
        for score in (0.9, 0.4):
            assert manager.save_recording(recording, [output_of(recording, score)])
    assert sorted(searched) == [manager.dirpath_false, manager.dirpath_true]


def test_directories_can_be_left_to_the_first_recording(tmp_path, recording):
    manager = SaveRecordingManager(
        tmp_path / "disk" / "recordings", make_directories=False
    )
    manager.check()
    assert not (tmp_path / "disk").exists()
    (tmp_path / "disk").write_text("not mounted")
    with pytest.raises(ConfigurationError, match="cannot be written to"):
        manager.check()
    with pytest.raises(PlaceError, match="disk/recordings"):
        manager.save_recording(recording)
    (tmp_path / "disk").unlink()
    assert manager.save_recording(recording).parent == manager.dirpath


def test_a_place_that_cannot_be_looked_at_is_no_recordings_fault(
    tmp_path, recording, monkeypatch
):
    manager = SaveRecordingManager(tmp_path / "closed", make_directories=False)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    # Even root's, whom no directory refuses.
    monkeypatch.setattr(Path, "exists", refuse)
    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(ConfigurationError, match="cannot be written to"):
        manager.check()
    with pytest.raises(PlaceError, match="closed"):
        manager.save_recording(recording)


def test_what_a_killed_copy_left_is_cleared_away(manager, recording):
    (manager.dirpath / ".1234-a.wav.tmp").write_bytes(b"half")
    path = manager.save_recording(recording)
    assert list(manager.dirpath.iterdir()) == [path]


def test_bad_settings_are_refused_with_the_key(tmp_path):
    with pytest.raises(ConfigurationError, match="saving_threshold is 3"):
        SaveRecordingManager(tmp_path, saving_threshold=3)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be made"):
        SaveRecordingManager(tmp_path / "file" / "recordings")
    with pytest.raises(ConfigurationError, match="within"):
        SavingThreshold(-0.1)
    with pytest.raises(ConfigurationError, match="within"):
        ThresholdDetectionCleaner(1.1)


def test_a_recording_is_worth_keeping_from_the_threshold_on(recording):
    worth = SavingThreshold(0.5)
    assert worth.should_save_recording(recording, [output_of(recording, 0.1, 0.5)])
    assert not worth.should_save_recording(recording, [output_of(recording, 0.49)])
    assert not worth.should_save_recording(recording, [])
    assert not worth.should_save_recording(recording)


def test_a_recording_is_worth_keeping_for_a_tag(recording):
    worth = HasTag([data.Tag("species", "Myotis")], score=0.5)
    assert worth.should_save_recording(recording, [output_of(recording, 0.5)])
    assert not worth.should_save_recording(recording, [output_of(recording, 0.4)])
    other = output_of(recording, 0.9, tag="Nyctalus")
    assert not worth.should_save_recording(recording, [other])


def test_cleaners_drop_what_is_not_wanted(recording):
    output = output_of(recording, 0.9, 0.2)
    cleaned = ThresholdDetectionCleaner(0.5).clean(output)
    assert [d.detection_score for d in cleaned.detections] == [0.9]
    assert TagKeyCleaner(["species"]).clean(output) == output
    assert TagKeyCleaner(["event"]).clean(output).detections == []


def test_processing_filters_judge_what_is_known(recording):
    assert HasLength(0.1).should_process(recording)
    assert not HasLength(0.2).should_process(recording)
    quiet = recording.model_copy(
        update={
            "capture": data.CaptureReport(
                peak_dbfs=-80, gaps=(data.SampleGap(at=1, lost=10),)
            )
        }
    )
    assert IsLoudEnough().should_process(recording)
    assert not IsLoudEnough().should_process(quiet)
    assert IsUninterrupted().should_process(recording)
    assert not IsUninterrupted().should_process(quiet)
    assert IsUninterrupted(0.02).should_process(quiet)


def test_what_is_set_aside_has_its_reason_beside_it(tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(b"one")
    folder = SetAsideFolder(tmp_path / "aside")
    path = folder.put(file, "because")
    assert folder.put(file, "because") == path
    assert path.read_bytes() == b"one"
    assert (tmp_path / "aside" / "a.wav.reason.txt").read_text() == "because\n"
    file.write_bytes(b"two")
    assert folder.put(file, "again").read_bytes() == b"two"
    assert path.read_bytes() == b"one"


def test_the_folder_of_what_is_set_aside_is_bounded(tmp_path):
    folder = SetAsideFolder(tmp_path / "aside", max_bytes=3000)
    for number in range(10):
        file = tmp_path / f"{number}.wav"
        file.write_bytes(bytes([number]) * 1000)
        path = folder.put(file, "because")
        os.utime(path, (number, number))
    left = list((tmp_path / "aside").iterdir())
    assert sum(p.stat().st_size for p in left) <= 3100
    assert (tmp_path / "aside" / "9.wav") in left


class TestRetention:
    @pytest.fixture
    def store(self, tmp_path):
        return SqliteStore(tmp_path / "acoupi.db")

    @pytest.fixture
    def kept(self, store, tmp_path):
        recordings = []
        for number in range(6):
            recording = make_recording(tmp_path, number)
            score = number / 10
            store.store_model_output(output_of(recording, score))
            recordings.append(store.update_recording_path(recording, recording.path))
        return recordings

    def left(self, kept):
        return [n for n, recording in enumerate(kept) if recording.path.exists()]

    def test_nothing_goes_without_need(self, store, kept, tmp_path):
        assert Retention(tmp_path, min_free_bytes=1).apply(store) == 0
        assert self.left(kept) == [0, 1, 2, 3, 4, 5]

    def test_the_oldest_go_when_space_is_short(self, store, kept, tmp_path):
        retention = Retention(tmp_path, min_free_bytes=1)
        size = kept[0].path.stat().st_size
        retention._missing_bytes = lambda: 2.5 * size
        assert retention.apply(store) == 3
        assert self.left(kept) == [3, 4, 5]
        assert store.get_state(kept[0]) == "deleted"
        assert store.get_reason(kept[0]) == "the disk was nearly full"

    def test_a_disk_that_is_really_short_is_noticed(self, store, kept, tmp_path):
        space = os.statvfs(tmp_path)
        everything = space.f_blocks * space.f_frsize
        retention = Retention(tmp_path, min_free_bytes=everything, max_deletions=4)
        assert retention.apply(store) == 4
        assert self.left(kept) == [4, 5]

    def test_old_ones_go(self, store, kept, tmp_path):
        age = datetime.timedelta(days=1)
        retention = Retention(tmp_path, max_age=age, clock_is_right=lambda: True)
        retention.apply(store, now=kept[2].created_on + age)
        assert self.left(kept) == [2, 3, 4, 5]

    def test_a_clock_that_may_be_ahead_deletes_nothing(self, store, kept, tmp_path):
        retention = Retention(
            tmp_path,
            max_age=datetime.timedelta(days=1),
            clock_is_right=lambda: False,
        )
        retention.apply(store, now=START + datetime.timedelta(days=9999))
        assert len(self.left(kept)) == 6

    def test_the_best_of_each_tag_stay(self, store, kept, tmp_path, caplog):
        retention = Retention(tmp_path, min_free_bytes=1, min_per_tag=2)
        retention._missing_bytes = lambda: 1e12
        retention.apply(store)
        assert self.left(kept) == [4, 5]
        assert retention.apply(store) == 0
        assert "nothing may be deleted" in caplog.text

    def test_a_deletion_cut_short_is_finished(self, store, kept, tmp_path):
        kept[0].path.unlink()
        retention = Retention(tmp_path, min_free_bytes=1)
        retention._missing_bytes = lambda: 1
        assert retention.apply(store) == 2
        assert store.get_state(kept[0]) == "deleted"

    def test_what_is_on_a_disk_that_is_not_there_stays_known(
        self, store, kept, tmp_path
    ):
        """Its place is free on another disk, which no deletion makes room on."""
        for recording in kept:
            recording.path.unlink()
        age = datetime.timedelta(days=1)
        retention = Retention(
            tmp_path / "disk" / "recordings",
            min_free_bytes=10**15,
            max_age=age,
            clock_is_right=lambda: True,
        )
        assert retention.apply(store, now=kept[5].created_on + 2 * age) == 0
        assert store.get_state(kept[0]) == "kept"
