"""A whole sensor as separate processes: what is killed loses no recording."""

from __future__ import annotations

import itertools
import os
import signal
import time

import pytest
from configurations import gapless
from scripted_sensor import ScriptedSensor

from acoupi.system import get_celery_app
from acoupi.testing import wait_until


@pytest.fixture
def sensor(tmp_path, own_broker):
    sensor = ScriptedSensor(tmp_path, "acoupi.programs.activity", gapless(tmp_path))
    sensor.broker.start()
    yield sensor
    sensor.close()


def analysed(sensor):
    return [recording for recording, out in sensor.store.get_recordings() if out]


def test_whatever_is_killed_every_recording_is_analysed_and_decided(sensor):
    sensor.start("recording", "default", "detection", "beat")
    wait_until(lambda: len(analysed(sensor)) >= 2, timeout=40, what="detection")
    sensor.kill("detection")
    os.kill(sensor.broker.pid, signal.SIGKILL)
    wait_until(lambda: not sensor.broker.alive, what="the broker's end")
    time.sleep(3)  # Recordings that nobody can be told of.
    sensor.broker.start()
    sensor.start("detection")
    known = len(sensor.recordings())
    wait_until(
        lambda: len(sensor.recordings()) > known + 2, timeout=40, what="going on"
    )
    sensor.kill("recording")
    sensor.start("recording")
    known = len(sensor.recordings())
    wait_until(lambda: len(sensor.recordings()) > known + 1, timeout=40, what="restart")
    sensor.stop("recording")
    app = get_celery_app(sensor.settings)
    audio = sensor.config.paths.tmp_audio

    def all_known():
        app.tasks["file_management_task"].delay()
        time.sleep(1)
        stored = sensor.store.get_recordings_by_path(sorted(audio.iterdir()))
        return len(stored) == len(list(audio.iterdir()))

    # What the killed recorder never handed over is found by the keeping task.
    wait_until(all_known, timeout=40, what=f"no stray file; {sensor.logs()}")
    # Reconciliation rings again when its worker starts.
    sensor.stop("default")
    sensor.start("default")
    wait_until(
        lambda: not sensor.store.pending(["activity"]),
        timeout=40,
        what=f"analysis of all; {sensor.logs()}",
    )

    def decided():
        app.tasks["file_management_task"].delay()
        time.sleep(1)
        return not any(audio.iterdir())

    wait_until(decided, timeout=40, what=f"an empty {audio}; {sensor.logs()}")
    sensor.stop("default", "detection", "beat")
    for recording, outputs in sensor.store.get_recordings():
        assert len(outputs) == 1
        assert recording.path is None or recording.path.is_file()
    kept = [r.path for r in sensor.recordings() if r.path is not None]
    on_disk = list(sensor.config.paths.recordings.rglob("*.flac"))
    assert sorted(kept) == sorted(on_disk)


def test_recording_goes_on_without_a_gap_while_the_broker_is_away(sensor):
    sensor.start("recording", "beat")
    wait_until(lambda: len(sensor.recordings()) >= 2, timeout=40, what="recordings")
    sensor.broker.stop()
    time.sleep(4)
    sensor.broker.start()
    known = len(sensor.recordings())
    wait_until(lambda: len(sensor.recordings()) >= known + 5, timeout=40, what="more")
    sensor.stop("recording", "beat")
    recordings = sorted(sensor.recordings(), key=lambda r: r.capture.first_frame)
    for former, latter in itertools.pairwise(recordings):
        expected = former.capture.first_frame + round(former.duration * 48_000)
        assert latter.capture.first_frame == expected
    assert all(recording.capture.samples_lost == 0 for recording in recordings)
