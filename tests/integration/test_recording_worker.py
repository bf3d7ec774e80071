"""The recording worker as it is deployed, on a real broker and a real device."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from configurations import gapless, paths_below

from acoupi.audio.soundfiles import read_info
from acoupi.system import Settings, get_celery_app, setup_program
from acoupi.testing import RedisServer, VirtualMicrophone, wait_until

RATE = 48_000
SECONDS = 16


@pytest.fixture
def microphone(tmp_path_factory):
    import numpy as np

    missing = VirtualMicrophone.missing()
    if missing:
        pytest.skip(missing)
    directory = tmp_path_factory.mktemp("mic")
    sound = directory / "counter.raw"
    sound.write_bytes(np.arange(90 * RATE, dtype="<u4").tobytes())
    with VirtualMicrophone(directory, RATE, 2, sound) as microphone:
        yield microphone


def numbers_in(path):
    import numpy as np

    content = path.read_bytes()
    start = content.index(b"data") + 8
    frames = read_info(path).frames
    return np.frombuffer(content[start : start + 4 * frames], dtype="<u4")


def test_late_lost_and_doubled_tasks_lose_no_sample(
    tmp_path, microphone, redis_server: RedisServer
):
    import numpy as np

    settings = Settings(tmp_path / "home")
    audio = tmp_path / "audio"
    setup_program(
        settings,
        "acoupi.programs.default",
        {
            "timezone": "UTC",
            **gapless(tmp_path),
            "microphone": {
                "device_name": "testmic",
                "samplerate": RATE,
                "audio_channels": 2,
            },
        },
        {"broker_url": redis_server.url},
    )
    with (tmp_path / "worker.log").open("wb") as log_file:
        worker = subprocess.Popen(
            [sys.executable, "-m", "acoupi.system.roles", "worker", "recording"],
            env={**microphone.environment, "ACOUPI_HOME": str(settings.home)},
            stdout=log_file,
            stderr=log_file,
        )
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    chance = random.Random(3)
    app = get_celery_app(settings)
    try:
        wait_until(lambda: list(audio.glob("*.wav")), 40, "the first recording")
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            # Late by up to 5 s, now and then twice, now and then never: the worker
            # discards a task that has expired.
            for expires in chance.choice([[None], [-1], [None, None]]):
                app.send_task("recording_task", queue="recording", expires=expires)
            time.sleep(chance.uniform(0.1, 5))
        app.send_task("recording_task", queue="recording")
        time.sleep(1)
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    finally:
        for process in (worker, burner):
            process.kill()
            process.wait()
        app.close()
    log = (tmp_path / "worker.log").read_text()
    assert worker.returncode == 0, log
    assert "Discarding revoked task" in log, "no task was lost"
    assert "Traceback" not in log
    files = sorted(audio.glob("*.wav"))
    assert len(files) >= SECONDS - 2
    assert not list(audio.glob("*.part"))
    numbers = np.concatenate([numbers_in(path) for path in files])
    assert (np.diff(numbers.astype(np.int64)) == 1).all()
    with_row = {recording.path for recording, _ in store_of(tmp_path).get_recordings()}
    assert with_row <= set(files)
    # Only what was finished after the last task has no row yet: it is adopted.
    assert len(files) - len(with_row) <= 3


def test_a_crash_of_the_audio_library_is_told(tmp_path, redis_server: RedisServer):
    settings = Settings(tmp_path / "home")
    setup_program(
        settings,
        "acoupi.programs.default",
        {"timezone": "UTC", "microphone": {}, "paths": paths_below(tmp_path)},
        {"broker_url": redis_server.url},
    )
    # A configuration without "default": PortAudio aborts the process.
    configuration = tmp_path / "alsa.conf"
    configuration.write_text("pcm.other { type null }\n")
    done = subprocess.run(
        [sys.executable, "-m", "acoupi.system.roles", "worker", "recording"],
        env={
            **os.environ,
            "ACOUPI_HOME": str(settings.home),
            "ALSA_CONFIG_PATH": str(configuration),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Telling of the other threads, which run on, may end it, too.
    assert done.returncode in {-signal.SIGABRT, -signal.SIGSEGV}, done.stderr
    assert "Fatal Python error: Aborted" in done.stderr
    assert "sounddevice.py" in done.stderr


def store_of(tmp_path):
    from acoupi.components import SqliteStore

    return SqliteStore(tmp_path / "sensor.db")
