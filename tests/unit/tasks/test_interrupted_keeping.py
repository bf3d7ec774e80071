"""A move can be killed at any call to the system, and the next runs end it.

The process that keeps is a real one, killed for real: a profile function counts its
calls that change a file or the database and sends itself SIGKILL before a chosen one.
"""

import os
import random
import signal
import tempfile
import time
from pathlib import Path

import pytest
from interruptions import kill_everywhere

from acoupi import data
from acoupi.audio.guano import Guano
from acoupi.audio.soundfiles import SoundFormat, WavWriter, read_info
from acoupi.components import types
from acoupi.components.outbox import SqliteMessageStore
from acoupi.components.recorders.pending import PendingFiles
from acoupi.components.saving import SaveRecordingManager
from acoupi.components.stores import SqliteStore
from acoupi.tasks import generate_detection_task, generate_file_management_task

RATE = 8000


@pytest.fixture
def tmp_path(tmp_path):
    """A directory in memory where there is one: kill -9 does not need a slow disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


class Never(types.RecordingSavingFilter):
    def should_save_recording(self, recording, model_outputs=None):
        return False


class Broken(types.RecordingSavingManager):
    def save_recording(self, recording, model_outputs=None):
        raise ValueError("a mistake")


class Found(types.Model):
    name = "model"

    def run(self, recording):
        return data.ModelOutput(
            name_model="model",
            recording=recording,
            detections=[data.Detection(detection_score=0.9)],
        )


class Builder(types.MessageBuilder):
    def build_message(self, model_output):
        return data.Message(content="found")


class Scene:
    """One directory tree of a sensor."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tmp = root / "tmp"
        self.kept = root / "recordings"
        self.aside = root / "aside"
        self.tmp.mkdir(parents=True)
        self.recording = data.Recording(
            created_on=data.utc_now(),
            duration=0.1,
            samplerate=RATE,
            deployment=data.Deployment(name="wood"),
            path=self.tmp / "1.wav",
        )
        self.sound = os.urandom(1600)

    @property
    def store(self) -> SqliteStore:
        return SqliteStore(self.root / "acoupi.db")

    @property
    def outbox(self) -> SqliteMessageStore:
        return SqliteMessageStore(self.root / "acoupi.db", ["mqtt"])

    def write(self) -> None:
        guano = Guano.for_recording(self.recording)
        path = self.recording.path
        with WavWriter(path, SoundFormat(RATE, 1), 800, guano) as writer:
            writer.write(self.sound)
            writer.finish()

    def keep(self, manager="save", filters=()) -> None:
        managers = {
            "save": lambda: SaveRecordingManager(self.kept),
            "flac": lambda: SaveRecordingManager(self.kept, file_format="flac"),
            "broken": Broken,
        }
        keep = generate_file_management_task(
            self.store,
            [managers[manager]()],
            filters,
            tmp_path=self.tmp,
            set_aside_path=self.aside,
            quiet=0,
        )
        # a broken manager is given two chances
        keep()
        if manager == "broken":
            keep()

    def files(self, folder: Path) -> list[Path]:
        return sorted(p for p in folder.rglob("*") if p.is_file())


def close_databases(scene: Scene) -> None:
    scene.store.database.close()


def kill_scenes_everywhere(tmp_path: Path, prepare, act, check) -> int:
    """Kill ``act`` at each of its calls in turn, on a fresh scene each time."""
    scenes = []

    def begin(trial: int) -> None:
        scenes.append(Scene(tmp_path / str(trial)))
        prepare(scenes[-1])
        close_databases(scenes[-1])

    def end(_killed: bool) -> None:
        check(scenes[-1])
        close_databases(scenes[-1])

    # In the middle of a statement: tests/integration/test_migrations.py.
    return kill_everywhere(begin, lambda: act(scenes[-1]), end, within_sql=False)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(
    ("manager", "stored"), [("save", True), ("save", False), ("flac", True)]
)
def test_keeping_can_be_killed_anywhere(tmp_path, manager, stored):
    def prepare(scene):
        scene.write()
        scene.store.check()
        if stored:
            scene.store.store_recording(scene.recording)

    def check(scene):
        scene.keep(manager)
        scene.keep(manager)
        assert scene.files(scene.tmp) == []
        (path,) = scene.files(scene.kept)
        info = read_info(path)
        assert (info.frames, info.complete) == (800, True)
        if manager == "save":
            assert scene.sound in path.read_bytes()
        ((found, _),) = scene.store.get_recordings()
        assert (found.id, found.path) == (scene.recording.id, path)
        assert scene.store.get_state(found) == "kept"

    calls = kill_scenes_everywhere(
        tmp_path, prepare, lambda scene: scene.keep(manager), check
    )
    assert calls > 30


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_keeping_without_analysis_can_be_killed_anywhere(tmp_path):
    def keep(scene):
        generate_file_management_task(
            scene.store,
            [SaveRecordingManager(scene.kept)],
            required_models=["model"],
            tmp_path=scene.tmp,
            set_aside_path=scene.aside,
            quiet=0,
            waiting_room=PendingFiles(scene.tmp, 1000),
        )()

    def prepare(scene):
        scene.write()
        scene.store.store_recording(scene.recording)

    def check(scene):
        keep(scene)
        keep(scene)
        (kept,) = scene.files(scene.kept)
        assert read_info(kept).complete
        assert scene.store.get_state(scene.recording) == "kept"
        assert scene.store.total_losses() == {"analyses": 1}
        assert scene.files(scene.tmp) == []

    assert kill_scenes_everywhere(tmp_path, prepare, keep, check) > 10


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_deleting_can_be_killed_anywhere(tmp_path):
    def prepare(scene):
        scene.write()
        scene.store.store_recording(scene.recording)

    def check(scene):
        scene.keep(filters=[Never()])
        scene.keep(filters=[Never()])
        assert scene.files(scene.tmp) == scene.files(scene.kept) == []
        assert scene.store.get_state(scene.recording) == "deleted"

    kill_scenes_everywhere(
        tmp_path, prepare, lambda scene: scene.keep(filters=[Never()]), check
    )


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_setting_aside_can_be_killed_anywhere(tmp_path):
    def prepare(scene):
        scene.write()
        scene.store.store_recording(scene.recording)

    def check(scene):
        scene.keep("broken")
        assert scene.files(scene.tmp) == []
        sound = [p for p in scene.files(scene.aside) if p.suffix == ".wav"]
        assert [scene.sound in p.read_bytes() for p in sound] == [True]
        assert (scene.aside / "1.wav.reason.txt").read_text()
        assert scene.store.get_state(scene.recording) == "set_aside"

    kill_scenes_everywhere(tmp_path, prepare, lambda scene: scene.keep("broken"), check)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_recording_can_be_killed_anywhere(tmp_path):
    def record(scene):
        scene.write()
        scene.store.store_recording(scene.recording)

    def check(scene):
        scene.keep()
        scene.keep()
        assert scene.files(scene.tmp) == []
        for path in scene.files(scene.kept):
            info = read_info(path)
            assert info.complete
            assert info.metadata.recording_id == scene.recording.id
            if info.frames == 800:
                assert scene.sound in path.read_bytes()

    kill_scenes_everywhere(tmp_path, lambda scene: scene.store.check(), record, check)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_detecting_can_be_killed_anywhere(tmp_path):
    def prepare(scene):
        scene.write()
        scene.store.store_recording(scene.recording)

    def detect(scene):
        generate_detection_task(
            scene.store,
            [Found()],
            message_factories=[Builder()],
            message_store=scene.outbox,
        )(scene.recording)

    def check(scene):
        outputs = scene.store.get_recordings()[0][1]
        assert len(outputs) == len(scene.outbox.due("mqtt")), "half stored"
        detect(scene)
        ((_, (output,)),) = scene.store.get_recordings()
        assert len(output.detections) == 1
        assert len(scene.outbox.due("mqtt")) == 1

    kill_scenes_everywhere(tmp_path, prepare, detect, check)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_sensor_killed_at_random_loses_nothing_it_acknowledged(tmp_path):
    """A process records, detects and keeps as fast as it can, and is killed."""
    scene = Scene(tmp_path / "sensor")
    log = tmp_path / "acknowledged"
    chance = random.Random(1)

    def detect(recording):
        generate_detection_task(
            scene.store,
            [Found()],
            message_factories=[Builder()],
            message_store=scene.outbox,
        )(recording)

    def keep():
        generate_file_management_task(
            scene.store,
            [SaveRecordingManager(scene.kept)],
            required_models=["model"],
            tmp_path=scene.tmp,
            set_aside_path=scene.aside,
            quiet=0,
        )()

    def work(first):
        with log.open("a", buffering=1) as acknowledged:
            for number in range(first, first + 100):
                scene.recording = scene.recording.model_copy(
                    update={
                        "id": data.Detection().id,
                        "path": scene.tmp / f"{number}.wav",
                    }
                )
                scene.write()
                scene.store.store_recording(scene.recording)
                detect(scene.recording)
                acknowledged.write(f"{scene.recording.id}\n")
                if number % 3 == 0:
                    keep()

    scene.store.check()
    for kill in range(12):
        close_databases(scene)
        child = os.fork()
        if child == 0:
            try:
                work(1000 * kill)
            finally:
                os._exit(1)
        time.sleep(chance.uniform(0.02, 0.25))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        for recording in scene.store.pending(["model"]):
            detect(recording)
        keep()
        for recording in scene.store.pending(["model"]):
            detect(recording)
        keep()
        assert scene.files(scene.tmp) == []
    acknowledged = set(log.read_text().split())
    stored = scene.store.get_recordings()
    assert acknowledged <= {str(recording.id) for recording, _ in stored}
    assert acknowledged
    states = {scene.store.get_state(recording) for recording, _ in stored}
    assert states == {"kept"}
    assert sorted(r.path for r, _ in stored) == scene.files(scene.kept)
    assert all(len(outputs) == 1 for _, outputs in stored)
    assert len(scene.outbox.due("mqtt", limit=10_000)) == len(stored)
    scene.store.database.check()
