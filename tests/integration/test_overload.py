"""A model that is slower than the recording: what does not fit is counted, no more.

Sound keeps its real pace; the hour is made short by short recordings, 10 a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

import psutil
import pytest
import redis
from configurations import gapless
from scripted_sensor import ScriptedSensor, environment_with

from acoupi.testing import wait_until

PROGRAM = """
import time

from acoupi import data
from acoupi.components import MicrophoneRecorder, types
from acoupi.programs.templates import (
    DetectionProgram,
    DetectionProgramConfiguration,
    basic,
)

BOUND = 250_000

# A second has the recordings of ten: what is done now and then is done as often.
basic.FILE_MANAGEMENT_INTERVAL = 3.0
basic.RECONCILE_INTERVAL = 6.0


class Slow(types.Model):
    name = "slow"

    def run(self, recording):
        recording.path.read_bytes()
        time.sleep(0.3)
        return data.ModelOutput(name_model=self.name, recording=recording)


class Overloaded(DetectionProgram[DetectionProgramConfiguration]):
    config_schema = DetectionProgramConfiguration

    def configure_model(self, config):
        return Slow()

    def configure_recorder(self, config):
        return MicrophoneRecorder(
            config.microphone,
            config.recording.duration,
            dirpath=config.paths.tmp_audio,
            status_file=self.run_dir / "recorder.json",
            max_pending_bytes=BOUND,
        )
"""
BOUND = 250_000  # bytes, as in the program
DURATION = 0.1
RATE = 8000
WORKERS = ("recording", "default", "detection")


class OverloadedSensor(ScriptedSensor):
    """The program, with what it uses."""

    def recorded(self) -> int:
        try:
            return int(self.status()["recordings"])
        except (FileNotFoundError, json.JSONDecodeError):
            return 0

    def analysed(self) -> set[object]:
        return {r.id for r, outputs in self.store.get_recordings() if outputs}

    def sample(self) -> dict[str, float]:
        client = redis.Redis(unix_socket_path=str(self.settings.broker_socket))
        sizes = []
        for entry in os.scandir(self.config.paths.tmp_audio):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(entry.stat().st_size)
        return {
            "queue": client.llen("detection"),
            "broker": client.info("memory")["used_memory"],
            "waiting": sum(sizes),
            **{
                name: psutil.Process(self.processes[name].pid).memory_info().rss
                for name in WORKERS
            },
        }


@pytest.fixture
def sensor_that(memory_path, monkeypatch, own_broker):
    library = memory_path / "lib"
    environment = environment_with(library, overloaded_program=PROGRAM)
    monkeypatch.syspath_prepend(library)
    made = []

    def make(unanalysed):
        config = gapless(memory_path, DURATION, samplerate=RATE)
        config["keeping"] = {"unanalysed": unanalysed, "file_format": "wav"}
        sensor = OverloadedSensor(
            memory_path, "overloaded_program", config, environment
        )
        made.append(sensor)
        sensor.broker.start()
        sensor.start(*WORKERS, "beat")
        return sensor

    yield make
    for sensor in made:
        sensor.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "recordings",
    [
        pytest.param(300, id="some minutes"),
        pytest.param(3600, id="an hour", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("policy", ["delete", "keep"])
def test_a_model_slower_than_the_recording_costs_analyses_only(
    sensor_that, policy, recordings
):
    sensor = sensor_that(policy)
    wait_until(lambda: sensor.recorded() > 0, timeout=240, what="recording")
    samples = []
    # On a machine that is busy otherwise, too, the model has to come to something.
    while sensor.recorded() < recordings or len(sensor.analysed()) <= 10:
        samples.append(sensor.sample())
        time.sleep(0.5)
    for name in ("beat", "recording", "detection", "default"):
        sensor.stop(name, patience=90)

    # Nothing grows: the second half is as the first one became.
    half = len(samples) // 2
    worst = {
        name: (
            max(sample[name] for sample in samples[half // 2 : half]),
            max(sample[name] for sample in samples[half:]),
        )
        for name in samples[0]
    }
    print(policy, recordings, worst)
    assert worst["queue"][1] <= 1.5 * worst["queue"][0] + 20
    assert worst["waiting"][1] <= BOUND + 5000
    for name in ("broker", *WORKERS):
        assert worst[name][1] <= worst[name][0] + 3_000_000, name

    # The recorder did not notice.
    status = sensor.status()
    made, dropped = status["recordings"], status["recordings_dropped"]
    assert (status["samples_lost"], status["overflows"]) == (0, 0)
    stored = sensor.store.get_recordings()
    frames = [recording.capture.first_frame for recording, _ in stored]
    length = round(DURATION * RATE)
    assert all(frame % length == 0 for frame in frames)
    assert len(set(frames)) == len(frames)
    assert max(frames) == (made - 1) * length

    # Each was analysed, still waits, or is counted as lost.
    analysed = {recording.id for recording, outputs in stored if outputs}
    there = {r.id for r, _ in stored if r.path is not None and r.path.exists()}
    given_up = {r.id for r, _ in stored if sensor.store.get_failures(r)}
    losses = sensor.store.total_losses()
    print(policy, made, len(analysed), losses)
    assert losses.get("recordings", 0) == dropped
    assert losses.get("analyses", 0) == len(given_up)
    assert set(losses) <= {"recordings", "analyses"}
    accounted = len(analysed | there | given_up) + dropped
    # Dropped while the model was at it, or while it was being moved: in both accounts.
    decided = {"kept", "deleted"}
    both = {
        recording.id
        for recording, _ in stored
        if recording.id in (analysed | given_up) - there
        and sensor.store.get_state(recording) not in decided
    }
    # One that is dropped at the moment of its move counts as lost although it is kept:
    # never the other way round.
    assert made <= accounted <= made + len(both) + made / 50
    if policy == "keep":
        # What the machine was too busy even to move was dropped at the bound.
        assert len(given_up) > made / 10
        assert not given_up & analysed
    else:
        assert dropped > made / 5
        assert not given_up
