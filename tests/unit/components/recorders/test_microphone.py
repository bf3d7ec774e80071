from __future__ import annotations

import datetime
import errno
import itertools
import json
import threading
import time

import pytest

from acoupi import data
from acoupi.audio import wavwriter
from acoupi.audio.soundfiles import read_info
from acoupi.audio.sources import Source, SourceStream
from acoupi.audio.wav import SoundFormat
from acoupi.components.recorders import Loss, MicrophoneConfig, MicrophoneRecorder
from acoupi.components.types import RecordingCondition
from acoupi.errors import AcoupiError, ConfigurationError

RATE = 8_000


class CounterStream(SourceStream):
    """Delivers 32-bit frame numbers; the test decides how many, and when it ends."""

    def __init__(self, rate: int) -> None:
        self.format = SoundFormat(rate, 1, 4)
        self.identity = "counter"
        self.clock_tolerance = None
        self.number = 0
        self.sink = None
        self.over = False

    @property
    def ended(self) -> bool:
        return self.over

    def start(self, sink) -> None:
        self.sink = sink

    def close(self) -> None:
        self.over = True

    def send(self, frames: int, block: int = 400, *, patient: bool = True) -> None:
        while frames:
            count = min(block, frames)
            while patient and self.sink.free < count:
                time.sleep(0.005)
            numbers = range(self.number, self.number + count)
            content = b"".join(n.to_bytes(4, "little") for n in numbers)
            self.sink.deliver(content, count, time.monotonic(), None, False)
            self.number += count
            frames -= count


class CounterSource(Source):
    def __init__(self, *rates: int) -> None:
        self.streams = [CounterStream(rate) for rate in rates or (RATE,)]
        self.waiting = list(self.streams)

    @property
    def exhausted(self) -> bool:
        return not self.waiting

    def open(self) -> SourceStream:
        return self.waiting.pop(0)


class Condition(RecordingCondition):
    def __init__(self, answer) -> None:
        self.answer = answer
        self.asked: list[datetime.datetime] = []
        self.deployments: list[data.Deployment] = []

    def should_record(self, now=None) -> bool:
        self.asked.append(now)
        return self.answer(len(self.asked) - 1)

    def use_deployment(self, deployment) -> None:
        self.deployments.append(deployment)


def until(condition, seconds=15.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def numbers_in(recording: data.Recording) -> list[int]:
    content = recording.path.read_bytes()
    frames = round(recording.duration * recording.samplerate)
    size = int.from_bytes(content[content.index(b"data") + 4 :][:4], "little")
    assert size == 4 * frames
    start = content.index(b"data") + 8
    return memoryview(content[start : start + size]).cast("I").tolist()


@pytest.fixture
def deployment() -> data.Deployment:
    return data.Deployment(name="meadow", latitude=51.5, longitude=-0.1)


@pytest.fixture
def build(tmp_path):
    recorders = []

    def build(source=None, duration=0.5, interval=None, **settings):
        recorder = MicrophoneRecorder(
            MicrophoneConfig(source="signal", samplerate=RATE),
            duration,
            interval,
            dirpath=tmp_path / "tmp",
            source=source or CounterSource(),
            **settings,
        )
        recorders.append(recorder)
        return recorder

    yield build
    for recorder in recorders:
        recorder.stop()


def begin(recorder, deployment, conditions=()):
    recorder.start(lambda: deployment, conditions)
    stream = recorder.source.streams[0]
    until(lambda: stream.sink is not None)
    return stream


def test_contiguous_recordings_hold_every_frame_once(build, deployment):
    recorder = build()
    stream = begin(recorder, deployment)
    stream.send(10 * RATE, block=333)
    stream.send(123)
    until(lambda: recorder.recordings_made == 20)
    recorder.stop()
    recordings = list(recorder.harvest())
    assert [r.duration for r in recordings] == [0.5] * 20 + [123 / RATE]
    found = [number for r in recordings for number in numbers_in(r)]
    assert found == list(range(10 * RATE + 123))
    assert recorder.samples_lost == 0
    assert recorder.take_losses() == []
    for earlier, later in itertools.pairwise(recordings):
        step = later.created_on - earlier.created_on
        assert step.total_seconds() == pytest.approx(earlier.duration, abs=2e-6)
        assert later.capture.first_frame - earlier.capture.first_frame == RATE // 2


def test_an_interval_leaves_out_what_is_between(build, deployment):
    recorder = build(duration=0.25, interval=1.0)
    stream = begin(recorder, deployment)
    stream.send(3 * RATE)
    until(lambda: recorder.recordings_made == 3)
    found = [numbers_in(recording) for recording in recorder.harvest()]
    assert found == [list(range(k * RATE, k * RATE + RATE // 4)) for k in range(3)]


def test_a_stalled_disk_loses_exactly_the_frames_it_says(
    build, deployment, monkeypatch
):
    recorder = build(ring_seconds=1.0)
    released = threading.Event()
    stalls = []
    write = wavwriter.WavWriter.write

    def stall(self, samples):
        if recorder.recordings_made == 2 and not stalls:
            stalls.append(True)
            released.wait(20)
        write(self, samples)

    monkeypatch.setattr(wavwriter.WavWriter, "write", stall)
    stream = begin(recorder, deployment)
    stream.send(RATE + 400)
    until(lambda: stalls)
    stream.send(3 * RATE, patient=False)
    released.set()
    until(lambda: recorder.capture.take.ring.available == 0)
    stream.send(2 * RATE)
    until(lambda: recorder.recordings_made >= 8)
    recorder.stop()
    recordings = list(recorder.harvest())
    found = [number for r in recordings for number in numbers_in(r)]
    missing = sorted(set(range(stream.number)) - set(found))
    assert found == sorted(set(found))
    assert missing
    told = sum(r.capture.samples_lost for r in recordings)
    within = [loss for loss in recorder.take_losses() if loss.kind == "samples"]
    assert sum(loss.count for loss in within) == len(missing) == recorder.samples_lost
    assert told <= len(missing)
    # Each gap is where the numbers jump, and as large as the jump.
    for recording in recordings:
        numbers = numbers_in(recording)
        first = recording.capture.first_frame
        lost_before = 0
        for gap in recording.capture.gaps:
            if 0 < gap.at < len(numbers):
                assert numbers[gap.at] - numbers[gap.at - 1] == gap.lost + 1
            lost_before += gap.lost if gap.at == 0 else 0
        assert numbers[0] == first


def test_a_reopened_source_begins_a_new_recording(build, deployment):
    source = CounterSource(RATE, 2 * RATE)
    recorder = build(source)
    stream = begin(recorder, deployment)
    stream.send(RATE * 3 // 4)
    until(lambda: recorder.recordings_made == 1)
    stream.over = True
    second = source.streams[1]
    until(lambda: second.sink is not None)
    second.send(RATE)
    until(lambda: recorder.recordings_made == 3)
    recordings = list(recorder.harvest())
    assert [r.samplerate for r in recordings] == [RATE, RATE, 2 * RATE]
    assert [r.duration for r in recordings] == [0.5, 0.25, 0.5]
    assert [len(numbers_in(r)) for r in recordings] == [4000, 2000, 8000]


def test_conditions_are_asked_with_the_time_of_the_first_frame(build, deployment):
    condition = Condition(lambda number: number % 2 == 0)
    recorder = build()
    stream = begin(recorder, deployment, [condition])
    stream.send(2 * RATE + 1)
    until(lambda: len(condition.asked) == 5)
    recordings = list(recorder.harvest())
    assert [numbers_in(r)[0] for r in recordings] == [0, RATE]
    assert [r.created_on for r in recordings] == condition.asked[:4:2]
    assert condition.deployments == [deployment]


def test_a_condition_that_fails_does_not_stop_recording(build, deployment):
    condition = Condition(lambda number: 1 // 0)
    recorder = build()
    begin(recorder, deployment, [condition]).send(RATE)
    until(lambda: recorder.recordings_made == 2)


def test_a_store_that_does_not_answer_does_not_stop_recording(build, deployment):
    answers = [deployment]

    def get_deployment():
        if answers:
            return answers.pop()
        raise OSError("locked")

    recorder = build()
    recorder.start(get_deployment)
    stream = recorder.source.streams[0]
    until(lambda: stream.sink is not None)
    stream.send(RATE)
    until(lambda: recorder.recordings_made == 2)
    assert {r.deployment for r in _hashable(recorder)} == {deployment.id}


def _hashable(recorder):
    class Answer:
        def __init__(self, recording):
            self.deployment = recording.deployment.id

    return [Answer(recording) for recording in recorder.harvest()]


def test_a_recording_that_could_not_be_stored_is_harvested_again(build, deployment):
    recorder = build()
    begin(recorder, deployment).send(RATE)
    until(lambda: recorder.recordings_made == 2)
    harvest = recorder.harvest()
    first = next(harvest)
    harvest.close()
    again = list(recorder.harvest())
    assert len(again) == 2
    assert again[0] == first
    assert list(recorder.harvest()) == []


def test_it_keeps_its_directory_within_bounds_by_dropping_the_oldest(build, deployment):
    size = RATE // 2 * 4 + 4096
    recorder = build(max_pending_bytes=5 * size)
    begin(recorder, deployment).send(6 * RATE)
    until(lambda: recorder.recordings_made == 12)
    recordings = list(recorder.harvest())
    waiting = sorted(recorder.dirpath.glob("*.wav"))
    # Frames that come faster than they should may give names out of order.
    assert sorted(r.path for r in recordings) == waiting
    assert sum(path.stat().st_size for path in waiting) <= 5 * size
    losses = recorder.take_losses()
    assert [(loss.kind, loss.count) for loss in losses] == [
        ("recordings", 12 - len(waiting))
    ]
    assert recorder.recordings_dropped == 12 - len(waiting) > 0
    # What remains is the newest, without a hole.
    assert numbers_in(recordings[-1])[-1] == 6 * RATE - 1


def test_a_full_disk_costs_only_what_it_could_not_take(build, deployment, monkeypatch):
    recorder = build()
    full = []
    write = wavwriter.WavWriter.write

    def refuse(self, samples):
        if recorder.recordings_made == 2 and self.frames >= 1000:
            full.append(True)
        if full and recorder.recordings_made < 4 and not recorder.samples_lost:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, samples)

    monkeypatch.setattr(wavwriter.WavWriter, "write", refuse)
    stream = begin(recorder, deployment)
    stream.send(3 * RATE, block=250)
    until(lambda: recorder.recordings_made == 6)
    recorder.stop()
    recordings = list(recorder.harvest())
    found = [number for r in recordings for number in numbers_in(r)]
    missing = 3 * RATE - len(found)
    assert recorder.samples_lost == missing > 0
    assert found == sorted(set(found))
    assert recorder.healthy
    assert recorder.take_losses() == [
        Loss("samples", missing, "could not be written to the disk")
    ]


def test_torn_files_of_a_former_run_are_made_whole(build, deployment, tmp_path):
    recorder = build()
    stream = begin(recorder, deployment)
    stream.send(RATE // 4)
    until(lambda: list(recorder.dirpath.glob("*.part")))
    until(lambda: recorder.capture.take.ring.available == 0)
    torn = next(recorder.dirpath.glob("*.part"))
    copy = torn.with_name("20200101T000000000Z_0badcafe.wav.part")
    copy.write_bytes(torn.read_bytes())
    hopeless = torn.with_name("20200101T000000000Z_deadbeef.wav.part")
    hopeless.write_bytes(b"not a sound")
    recorder.stop()
    again = build()
    begin(again, deployment)
    until(lambda: not copy.exists() and not hopeless.exists())
    info = read_info(copy.with_suffix(""))
    assert info.complete
    assert info.frames == RATE // 4
    assert info.metadata is not None
    assert info.metadata.recording_id is not None
    assert hopeless.with_name(hopeless.name + ".damaged").exists()


def test_files_carry_all_that_is_known_of_the_recording(build, deployment):
    recorder = build()
    begin(recorder, deployment).send(RATE // 2)
    until(lambda: recorder.recordings_made == 1)
    recording = next(recorder.harvest())
    info = read_info(recording.path)
    assert info.metadata is not None
    rebuilt = info.metadata.to_recording(
        path=recording.path,
        frames=info.frames,
        samplerate=info.samplerate,
        channels=info.channels,
    )
    assert rebuilt == recording
    assert recording.capture.device == "counter"
    assert recording.capture.clock is not None
    assert recording.path.name.startswith(
        recording.created_on.strftime("%Y%m%dT%H%M%S")
    )


def test_other_processes_can_read_what_it_does(build, deployment, tmp_path):
    status_file = tmp_path / "run" / "recorder.json"
    recorder = build(status_file=status_file)
    stream = begin(recorder, deployment)
    stream.send(RATE)
    until(
        lambda: (
            status_file.exists()
            and json.loads(status_file.read_text())["recordings"] == 2
        )
    )
    status = json.loads(status_file.read_text())
    assert status["device"] == "counter"
    assert status["samplerate"] == RATE
    assert status["frames"] == RATE
    assert status["samples_lost"] == 0
    assert status["reopen_count"] == 0
    assert status["capturing"] is True
    assert status["last_recording_on"] is not None
    assert status["updated_monotonic"] <= time.monotonic()


def test_record_alone_starts_and_waits_for_the_next_recording(tmp_path, deployment):
    recorder = MicrophoneRecorder(
        MicrophoneConfig(source="signal", samplerate=RATE, source_realtime=False),
        0.5,
        dirpath=tmp_path,
    )
    try:
        first = recorder.record(deployment)
        second = recorder.record(deployment)
    finally:
        recorder.stop()
    assert first is not None
    assert second is not None
    assert second.capture.first_frame == first.capture.first_frame + RATE // 2
    assert first.deployment == deployment


def test_making_one_opens_nothing(tmp_path):
    recorder = MicrophoneRecorder(
        MicrophoneConfig(device_name="no such thing"), 1.0, dirpath=tmp_path / "x"
    )
    assert not (tmp_path / "x").exists()
    assert recorder.healthy
    assert list(recorder.harvest()) == []


def test_a_recording_needs_a_duration(tmp_path):
    with pytest.raises(ValueError, match="above 0"):
        MicrophoneRecorder(MicrophoneConfig(), 0, dirpath=tmp_path)


def test_a_recording_that_no_file_can_hold_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"recording\.duration.*at most") as no:
        MicrophoneRecorder(MicrophoneConfig(samplerate=384_000), 7200, dirpath=tmp_path)
    longest = int(str(no.value).rsplit("at most ", 1)[1].split()[0])
    MicrophoneRecorder(
        MicrophoneConfig(samplerate=384_000), longest - 1, dirpath=tmp_path
    )


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    recorder = MicrophoneRecorder(
        MicrophoneConfig(source="signal"), 1, dirpath=tmp_path / "file" / "tmp"
    )
    with pytest.raises(AcoupiError, match=r"paths\.tmp_audio"):
        recorder.check()


class EndlessStream(CounterStream):
    """Always full: what a source that is not paced by a clock is."""

    def start(self, sink) -> None:
        super().start(sink)
        threading.Thread(target=self._fill, daemon=True).start()

    def _fill(self) -> None:
        while not self.over:
            if self.sink.free >= 400:
                self.sink.deliver(bytes(1600), 400, time.monotonic(), None, False)
            else:
                time.sleep(0.0001)


def test_a_source_that_never_pauses_leaves_time_for_the_status(
    build, deployment, tmp_path
):
    source = CounterSource()
    source.waiting = source.streams = [EndlessStream(RATE)]
    status_file = tmp_path / "run" / "recorder.json"
    recorder = build(source, status_file=status_file)
    recorder.start(lambda: deployment)
    until(lambda: status_file.exists() and recorder.recordings_made > 0)
    made = json.loads(status_file.read_text())["recordings"]
    until(lambda: json.loads(status_file.read_text())["recordings"] > made)
    assert recorder.healthy


def test_harvesting_while_the_oldest_are_dropped_loses_none_besides(build, deployment):
    source = CounterSource()
    recorder = build(source, duration=0.05, max_pending_bytes=20_000)
    recorder.start(lambda: deployment)
    until(lambda: source.streams[0].sink is not None)
    taken = []
    sending = threading.Thread(target=source.streams[0].send, args=(160_000,))
    sending.start()
    while sending.is_alive():
        taken += recorder.harvest()
    sending.join()
    until(lambda: recorder.recordings_made == 400)
    taken += recorder.harvest()
    assert recorder.samples_lost == 0
    assert len(taken) + recorder.recordings_dropped >= 400
    assert len({recording.id for recording in taken}) == len(taken)
