"""A clock that begins in 1970, leaps about and is set at last, under a whole sensor.

Real processes, whose wall clock libfaketime moves while the monotonic one goes on. That
a time daemon has set the clock is told by a file: the kernel's own word cannot be
changed for some processes only.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import subprocess
import time
from pathlib import Path

import pytest
from configurations import gapless
from scripted_sensor import ScriptedSensor, environment_with

from acoupi.audio.soundfiles import read_info
from acoupi.components import SqliteMessageStore
from acoupi.testing import wait_until

SITE = """
import threading
import time

# libfaketime takes the monotonic deadline of a sleep for one of the wall clock, and
# then sleeps for years.
time.sleep = lambda seconds: threading.Event().wait(seconds) and None
"""
PROGRAM = """
import os
from pathlib import Path

from acoupi.audio import wallclock

# Before anything else takes it from there.
wallclock.clock_is_synchronised = Path(os.environ["CLOCK_IS_SET"]).exists

from acoupi import data
from acoupi.components import types
from acoupi.programs.templates import (
    DetectionProgram,
    DetectionProgramConfiguration,
    basic,
)
from acoupi.testing import FakeModel, FakeMessenger

basic.FILE_MANAGEMENT_INTERVAL = 1.0
basic.CLOCK_CORRECTION_INTERVAL = 1.0


class Away(FakeMessenger):
    def send_message(self, message):
        return data.Response(status=data.ResponseStatus.ERROR, message=message)


class Program(DetectionProgram[DetectionProgramConfiguration]):
    config_schema = DetectionProgramConfiguration

    def configure_model(self, config):
        return FakeModel()

    def configure_messengers(self, config):
        return [Away("away")]
"""
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
ROLES = ("recording", "default", "detection", "beat")
YEAR = 365 * 24 * 3600
DURATION = 0.5


class ClockedSensor(ScriptedSensor):
    """The processes of a home, with a clock that can be set for all of them."""

    def __init__(self, root: Path, monkeypatch):
        library = root / "lib"
        environment = environment_with(
            library, clocked_program=PROGRAM, sitecustomize=SITE
        )
        monkeypatch.syspath_prepend(library)
        self.offset_file, self.flag = root / "offset", root / "clock-is-set"
        monkeypatch.setenv("CLOCK_IS_SET", str(self.flag))
        environment |= {
            "CLOCK_IS_SET": str(self.flag),
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.offset_file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        self.root = root
        config = gapless(root, DURATION, samplerate=8000)
        config |= {
            "timezone": "Europe/London",
            "keeping": {"file_format": "wav"},
            "retention": {"max_age": 30, "min_per_tag": 0},
            "messaging": {
                "messages_db": str(root / "sensor.db"),
                "message_send_interval": 1,
            },
        }
        super().__init__(root, "clocked_program", config, environment)

    def set_clock(self, offset: float) -> None:
        """Let the clock of all processes be wrong by so many seconds, from now on."""
        new = self.offset_file.with_name("offset.new")
        new.write_text(f"{offset:+.0f}\n")
        new.replace(self.offset_file)

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
        super().close()
        for process in self.processes.values():
            # What the library leaves of one that was killed.
            for name in ("faketime_shm", "sem.faketime_sem"):
                Path(f"/dev/shm/{name}_{process.pid}").unlink(missing_ok=True)

    def go_on(self, count: int = 6) -> int:
        """Wait until so many more are recorded, analysed and kept; tell how many."""
        before = self.store.counts()

        def happened() -> bool:
            now = self.store.counts()
            return (
                now.recordings >= before.recordings + count
                and now.model_outputs >= before.model_outputs + count
                and now.kept >= before.kept + count
            )

        wait_until(happened, timeout=300, what=f"{count} more; {self.logs()}")
        return self.store.counts().recordings - before.recordings


@pytest.fixture
def sensor(memory_path, monkeypatch, own_broker):
    if LIBRARY is None:
        pytest.skip("libfaketime is not installed")
    sensor = ClockedSensor(memory_path, monkeypatch)
    sensor.broker.start()
    yield sensor
    sensor.close()


@pytest.mark.timeout(1800)
def test_whatever_the_clock_does_all_goes_on_and_true_times_come_with_it(sensor):
    now = time.time()
    # The night in which clocks are set back in London, one o'clock and a half.
    autumn = datetime.datetime(2026, 10, 25, 0, 59, 57, tzinfo=datetime.UTC)
    leaps = {
        "1970": 60 - now,
        "a year ahead": YEAR,
        "a year behind": -YEAR,
        "daylight saving ends": autumn.timestamp() - now,
        "1970 again": 3600 - now,
    }
    sensor.set_clock(next(iter(leaps.values())))
    sensor.start(*ROLES)
    made = {}
    for name, offset in leaps.items():
        sensor.set_clock(offset)
        made[name] = sensor.go_on()
    assert {r.created_on.year for r in sensor.recordings()} >= {1970, 2025, 2027}
    sensor.set_clock(0)
    made["set by a time daemon"] = sensor.go_on()
    sensor.flag.touch()

    def corrected() -> bool:
        clocks = [recording.capture.clock for recording in sensor.recordings()]
        return all(clock.synchronised or clock.corrected for clock in clocks)

    sensor.go_on()
    wait_until(corrected, timeout=180, what=f"correction of all; {sensor.logs()}")

    recordings = sorted(sensor.recordings(), key=lambda r: r.capture.clock.monotonic)
    began = time.time() - time.monotonic()
    errors = []
    for recording in recordings:
        true = began + recording.capture.clock.monotonic
        errors.append(abs(recording.created_on.timestamp() - true))
        assert recording.duration > 0
    assert max(errors) < 1, "seconds"
    # Every frame is there once, in the order of its true time; a stream that a busy
    # machine let starve was opened again.
    reopened = 0
    for former, latter in itertools.pairwise(recordings):
        if latter.capture.first_frame == 0:
            reopened += 1
            continue
        frames = round(former.duration * former.samplerate)
        assert latter.capture.first_frame == former.capture.first_frame + frames
        step = (latter.created_on - former.created_on).total_seconds()
        assert abs(step - former.duration) < 0.5
    assert all(process.poll() is None for process in sensor.processes.values())
    # One that was opened again at once has no recording of its own.
    assert reopened <= sensor.status()["reopen_count"], sensor.logs()
    decided = {r.id for r in recordings if sensor.store.get_state(r) == "kept"}
    # Asked for after that, since they are moved while they are looked at.
    recordings = sensor.recordings()
    kept = [r.path for r in recordings if r.id in decided]
    assert len({path.name for path in kept}) == len(kept)
    assert set(kept) <= set((sensor.root / "recordings").iterdir())
    for recording in recordings:
        if recording.path in kept and recording.path.exists():
            metadata = read_info(recording.path).metadata
            assert abs(metadata.timestamp - recording.created_on) < datetime.timedelta(
                seconds=0.2
            )
    states = {sensor.store.get_state(recording) for recording in recordings}
    assert states <= {"kept", "undecided"}, "nothing was deleted for its age"
    assert sensor.store.total_losses() == {}
    waiting = SqliteMessageStore(sensor.root / "sensor.db").counts()["away"]
    assert waiting.waiting >= sum(made.values())
    assert (waiting.sent, waiting.parked, waiting.expired) == (0, 0, 0)
    print(
        f"clocks: {len(recordings)} recordings, {max(errors):.3f} s off at most, {made}"
    )
