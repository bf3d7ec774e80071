"""Recordings made before the clock was set get their true time, whatever happens."""

from __future__ import annotations

import datetime
import errno
import os
import subprocess
import sys
import threading
import uuid

import pytest

from acoupi import data
from acoupi.audio.guano import Guano
from acoupi.audio.soundfiles import (
    SoundFormat,
    WavWriter,
    encode_flac,
    read_blocks,
    read_info,
)
from acoupi.components import SqliteMessageStore
from acoupi.components.clock_correction import ClockReading
from acoupi.components.saving import Retention, SaveRecordingManager
from acoupi.components.stores import SqliteStore
from acoupi.components.stores.boots import Boots
from acoupi.tasks import (
    correct_times,
    generate_clock_correction_task,
    generate_file_management_task,
)
from acoupi.tasks.strays import one_at_a_time

POWER_ON = datetime.datetime(2026, 5, 1, 20, tzinfo=datetime.UTC)
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)


class Sensor:
    """A machine without a clock of its own: each boot begins in 1970."""

    def __init__(self, root) -> None:
        self.tmp = root / "tmp"
        self.tmp.mkdir()
        self.kept = root / "kept"
        self.store = SqliteStore(root / "acoupi.db")
        self.deployment = data.Deployment(name="wood")
        self.store.store_deployment(self.deployment)
        self.boot("first", POWER_ON)

    def boot(self, name, powered_on) -> None:
        self.boot_id = name
        self.powered_on = powered_on
        self.uptime = 10.0
        self.error = EPOCH - powered_on
        self.synchronised = False

    def set_clock(self) -> None:
        self.error = datetime.timedelta()
        self.synchronised = True

    def now(self) -> datetime.datetime:
        return self.powered_on + self.uptime * SECOND + self.error

    def read(self) -> ClockReading:
        state = data.ClockState(
            synchronised=self.synchronised,
            boot_id=self.boot_id,
            monotonic=self.uptime,
        )
        return ClockReading(self.now(), state)

    def record(self, *, stored=True) -> data.Recording:
        reading = self.read()
        identity = uuid.uuid4()
        recording = data.Recording(
            id=identity,
            created_on=reading.now,
            duration=0.1,
            samplerate=8000,
            deployment=self.deployment,
            path=self.tmp / f"{reading.now:%Y%m%dT%H%M%S}_{identity.hex[:8]}.wav",
            capture=data.CaptureReport(device="mic", clock=reading.state),
        )
        metadata = Guano.for_recording(recording)
        metadata["Note"] = "a field of somebody else"
        with WavWriter(recording.path, SoundFormat(8000), 800, metadata) as writer:
            writer.write(os.urandom(1600))
            writer.finish()
        if stored:
            self.store.store_recording(recording)
        self.uptime += 10
        return recording

    def compress(self, recording) -> data.Recording:
        path = encode_flac(recording.path, self.kept / f"{recording.id}.flac")
        return self.store.settle_recording(recording, path, "kept")

    def task(self, **options):
        given = {"clock": self.read, "tmp_path": self.tmp}
        return generate_clock_correction_task(self.store, **{**given, **options})

    def stored(self, recording) -> data.Recording:
        ((found, _),) = self.store.get_recordings([recording.id])
        return found

    def assert_corrected(self, recording) -> None:
        clock = recording.capture.clock
        true_time = POWER_ON + clock.monotonic * SECOND
        found = self.stored(recording)
        assert abs(found.created_on - true_time) < SECOND
        assert found.capture.clock.corrected
        assert found.capture.device == "mic"
        if found.path is None:
            return
        metadata = read_info(found.path).metadata
        assert metadata is not None
        assert metadata.timestamp == found.created_on
        assert metadata["Acoupi|Clock Corrected"] == "yes"
        assert metadata["Acoupi|Clock Synchronised"] == "no"
        assert metadata["Note"] == "a field of somebody else"
        assert metadata.recording_id == recording.id

    def assert_untouched(self, recording) -> None:
        found = self.stored(recording)
        assert found == recording
        if found.path is not None:
            metadata = read_info(found.path).metadata
            assert metadata is not None
            assert metadata.timestamp == recording.created_on


@pytest.fixture
def sensor(tmp_path) -> Sensor:
    return Sensor(tmp_path)


def sound_of(path) -> bytes:
    return b"".join(block.tobytes() for block in read_blocks(path, 4096))


def test_a_boot_in_1970_is_dated_once_the_clock_is_set(sensor):
    before = [sensor.record() for _ in range(3)]
    compressed = sensor.compress(sensor.record())
    sounds = {r.id: sound_of(r.path) for r in [*before, compressed]}
    task = sensor.task()
    task()
    for recording in [*before, compressed]:
        sensor.assert_untouched(recording)
    sensor.set_clock()
    after = sensor.record()
    task()
    for recording in [*before, compressed]:
        sensor.assert_corrected(recording)
        found = sensor.stored(recording)
        assert found.path == recording.path
        assert sound_of(found.path) == sounds[recording.id]
    sensor.assert_untouched(after)
    times = [sensor.stored(recording).created_on for recording in before]
    assert times[1] - times[0] == times[2] - times[1] == 10 * SECOND


def test_a_recording_finished_after_the_clock_was_set_is_corrected_too(sensor):
    late = sensor.record(stored=False)
    sensor.set_clock()
    task = sensor.task()
    task()
    sensor.store.store_recording(late)
    sensor.uptime += 60
    task()
    sensor.assert_corrected(late)


def test_a_clock_set_wrongly_in_between_does_not_matter(sensor):
    first = sensor.record()
    sensor.error = datetime.timedelta(days=400)
    second = sensor.record()
    sensor.set_clock()
    sensor.task()()
    sensor.assert_corrected(first)
    sensor.assert_corrected(second)


def test_a_clock_that_was_right_all_along_moves_no_time(sensor):
    sensor.error = 0.02 * SECOND
    recording = sensor.record()
    sensor.set_clock()
    sensor.task()()
    found = sensor.stored(recording)
    assert found.created_on == recording.created_on
    sensor.assert_corrected(recording)


def test_recordings_of_another_boot_or_without_a_clock_are_left_alone(sensor):
    other = sensor.record()
    sensor.boot("second", POWER_ON + datetime.timedelta(days=1))
    nameless = data.Recording(
        created_on=EPOCH, duration=1, samplerate=8000, deployment=sensor.deployment
    )
    sensor.store.store_recording(nameless)
    sensor.set_clock()
    sensor.task()()
    sensor.assert_untouched(other)
    assert sensor.stored(nameless) == nameless


def test_without_a_boot_identifier_nothing_is_guessed(sensor):
    sensor.boot_id = "unknown"
    recording = sensor.record()
    sensor.set_clock()
    sensor.task()()
    sensor.assert_untouched(recording)


class PowerCut(BaseException):
    """Ends the process at once."""


STEPS = [
    (correct_times, "replace_metadata"),
    (Boots, "store_corrected"),
    (Boots, "get_uncorrected"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("reboot", [False, True])
@pytest.mark.parametrize(("owner", "step"), STEPS)
def test_a_power_cut_at_any_step_is_made_good(
    sensor, monkeypatch, owner, step, when, reboot
):
    recordings = [sensor.record(), sensor.compress(sensor.record()), sensor.record()]
    sensor.set_clock()
    original = getattr(owner, step)
    calls = []

    def cut(*arguments, **options):
        calls.append(1)
        if len(calls) == (2 if step == "replace_metadata" else 1):
            if when == "after":
                original(*arguments, **options)
            raise PowerCut
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, cut)
        if step == "replace_metadata":
            # No transaction outlives a power cut: what was done before it is lost.
            patch.setattr(Boots, "store_corrected", lambda *_: None)
        with pytest.raises(PowerCut):
            sensor.task()()
    if reboot:
        sensor.boot("second", POWER_ON + datetime.timedelta(hours=3))
    else:
        sensor.uptime += 3600
    again = sensor.task()
    again()
    again()
    for recording in recordings:
        sensor.assert_corrected(recording)
    assert not list(sensor.kept.glob(".*"))


def test_what_is_done_is_not_done_again(sensor, monkeypatch):
    sensor.record()
    sensor.compress(sensor.record())
    sensor.set_clock()
    task = sensor.task()
    task()
    monkeypatch.setattr(
        correct_times, "replace_metadata", lambda *_: pytest.fail("written again")
    )
    statements = []
    with sensor.store.database.reading() as connection:
        connection.set_trace_callback(statements.append)
    sensor.uptime += 60
    task()
    with sensor.store.database.reading() as connection:
        connection.set_trace_callback(None)
    assert sum("FROM recording" in statement for statement in statements) == 1
    assert {s.split()[0] for s in statements} <= {"BEGIN", "SELECT", "COMMIT"}
    assert "BEGIN IMMEDIATE" not in statements


def test_what_is_to_do_is_found_by_an_index(sensor):
    recordings = [sensor.record() for _ in range(2)]
    boots = Boots(sensor.store.database)
    boots.note_beginning(sensor.boot_id, POWER_ON)
    assert boots.get_unfinished() == {"first": POWER_ON}
    first, second = boots.get_uncorrected("first")
    assert list(boots.get_uncorrected("first", first).values()) == recordings[1:]
    assert boots.get_uncorrected("first", second) == {}
    statements = []
    with sensor.store.database.reading() as connection:
        connection.set_trace_callback(statements.append)
        boots.get_unfinished()
        boots.get_uncorrected("first", 1)
        connection.set_trace_callback(None)
        plans = [
            str(connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall())
            for statement in statements
            if "json_extract" in statement
        ]
    assert len(plans) == 2
    assert all("recording_uncorrected (boot_id=?" in plan for plan in plans)


def test_many_recordings_are_corrected_in_batches(sensor):
    recordings = [sensor.record() for _ in range(7)]
    sensor.set_clock()
    sensor.task(batch_size=3)()
    for recording in recordings:
        sensor.assert_corrected(recording)


def test_a_run_ends_when_its_time_is_up(sensor):
    recording = sensor.record()
    sensor.set_clock()
    sensor.task(max_seconds=0)()
    sensor.assert_untouched(recording)


def test_nothing_is_corrected_while_recordings_are_moved(sensor):
    recording = sensor.record()
    sensor.set_clock()
    with one_at_a_time(sensor.tmp):
        sensor.task(patience=0)()
        sensor.assert_untouched(recording)
    sensor.task()()
    sensor.assert_corrected(recording)


def test_times_are_corrected_although_recordings_are_moved_all_the_time(sensor):
    recording = sensor.record()
    sensor.set_clock()
    over, moving = threading.Event(), threading.Event()

    def move() -> None:
        while not over.is_set():
            with one_at_a_time(sensor.tmp):
                moving.set()
                over.wait(0.1)
            # As a worker takes to come from one task to the next.
            over.wait(0.02)

    mover = threading.Thread(target=move)
    mover.start()
    try:
        moving.wait()
        sensor.task()()
    finally:
        over.set()
        mover.join()
    sensor.assert_corrected(recording)


def test_keeping_goes_on_with_corrected_recordings(sensor):
    wav, flac = sensor.record(), sensor.record()
    sensor.set_clock()
    sensor.task()()
    for recording, form in ((wav, "keep"), (flac, "flac")):
        manager = SaveRecordingManager(sensor.kept, file_format=form)
        path = manager.save_recording(sensor.stored(recording))
        metadata = read_info(path).metadata
        assert metadata.timestamp == sensor.stored(recording).created_on
    keep = generate_file_management_task(
        sensor.store, [SaveRecordingManager(sensor.kept)], tmp_path=sensor.tmp
    )
    keep()
    sensor.assert_corrected(wav)


@pytest.mark.parametrize("broken", ["gone", "junk", "of another recording"])
def test_the_store_does_not_wait_for_a_file_that_cannot_be_corrected(
    sensor, broken, caplog
):
    recording, other = sensor.record(), sensor.record()
    content = recording.path.read_bytes()
    if broken == "gone":
        recording.path.unlink()
    elif broken == "junk":
        recording.path.write_bytes(b"junk")
    else:
        recording.path.write_bytes(other.path.read_bytes())
    left = recording.path.read_bytes() if recording.path.exists() else content
    sensor.set_clock()
    sensor.task()()
    assert sensor.stored(recording).capture.clock.corrected
    sensor.assert_corrected(other)
    if recording.path.exists():
        assert recording.path.read_bytes() == left
        assert "stays wrong" in caplog.text


def test_a_full_disk_is_waited_for(sensor, monkeypatch, caplog):
    done, waiting = sensor.record(), sensor.record()
    sensor.set_clock()
    original = correct_times.replace_metadata

    def refuse(path, metadata):
        if path == waiting.path:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(correct_times, "replace_metadata", refuse)
        sensor.task()()
    assert "tried again later" in caplog.text
    sensor.assert_corrected(done)
    sensor.assert_untouched(waiting)
    sensor.task()()
    sensor.assert_corrected(waiting)


def test_a_monotonic_time_that_makes_no_date_stops_nothing(sensor):
    strange = sensor.record(stored=False)
    clock = strange.capture.clock.model_copy(update={"monotonic": 1e300})
    capture = strange.capture.model_copy(update={"clock": clock})
    sensor.store.store_recording(strange.model_copy(update={"capture": capture}))
    recording = sensor.record()
    sensor.set_clock()
    sensor.task()()
    sensor.assert_corrected(recording)


def test_messages_and_results_stay_as_they_are(sensor):
    recording = sensor.record()
    output = data.ModelOutput(name_model="m", recording=recording, detections=[])
    sensor.store.store_model_output(output)
    messages = SqliteMessageStore(sensor.store.path, destinations=["server"])
    messages.store_message(data.Message(content="built before"))
    waiting = messages.get_unsent_messages()
    sensor.set_clock()
    sensor.task()()
    assert messages.get_unsent_messages() == waiting
    ((found, outputs),) = sensor.store.get_recordings([recording.id])
    assert [(o.id, o.created_on) for o in outputs] == [(output.id, output.created_on)]
    assert outputs[0].recording == found


def test_what_looks_old_only_by_the_former_clock_is_not_deleted_for_age(
    sensor, monkeypatch
):
    monkeypatch.setattr(
        "acoupi.components.saving.retention.read_boot_id", lambda: sensor.boot_id
    )
    recording = sensor.record()
    old = sensor.record(stored=False)
    clock = old.capture.clock.model_copy(update={"boot_id": "long ago"})
    old = old.model_copy(update={"capture": data.CaptureReport(clock=clock)})
    for each in (recording, old):
        sensor.store.settle_recording(each, each.path, "kept")
    sensor.set_clock()
    retention = Retention(
        sensor.tmp, max_age=datetime.timedelta(days=30), clock_is_right=lambda: True
    )
    assert retention.apply(sensor.store, sensor.now()) == 1
    assert recording.path.exists()
    sensor.task()()
    sensor.assert_corrected(recording)
    assert retention.apply(sensor.store, sensor.now()) == 0


def test_other_stores_are_left_alone():
    generate_clock_correction_task(object(), clock=lambda: pytest.fail("asked"))()


def test_correcting_loads_no_numpy():
    code = (
        "import sys; from acoupi.tasks import generate_clock_correction_task; "
        "print('numpy' in sys.modules, 'soundfile' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["False", "False"]
