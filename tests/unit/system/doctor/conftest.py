"""A sensor that is set up, on a machine of files, and its examination."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from acoupi.system import Settings, setup_program
from acoupi.system import liveness as liveness_module
from acoupi.system.doctor import Machine, examine
from acoupi.system.doctor.examination import PROBES, load_probes
from acoupi.system.doctor.sensor import Sensor

# Imported in a process of its own, which takes most of the time of an examination.
SLOW = {"configuration"}

MACHINE_FILES = {
    "proc/meminfo": "MemTotal: 1000000 kB\nMemAvailable: 600000 kB\n",
    "proc/vmstat": "oom_kill 0\n",
    "proc/loadavg": "0.10 0.20 0.30 1/100 1\n",
    "proc/stat": "cpu  1 2\ncpu0 1 2\ncpu1 1 2\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    "sys/class/thermal/thermal_zone0/temp": "52000\n",
    "sys/fs/ext4/sda1/errors_count": "0\n",
}


class FakeMachine:
    """Files that stand for the kernel's, and a clock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock_is_set = True
        self.now = datetime.datetime.now(datetime.UTC)
        self.uptime = 86_400.0
        for name, text in MACHINE_FILES.items():
            self.write(name, text)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    @property
    def machine(self) -> Machine:
        return Machine(
            self.root,
            clock_is_set=lambda: self.clock_is_set,
            now=lambda: self.now,
            uptime=lambda: self.uptime,
        )


class Examined:
    """A sensor that is set up and does not run, and what an examination finds."""

    def __init__(self, settings: Settings, fake: FakeMachine) -> None:
        self.settings = settings
        self.fake = fake

    def find(self, *, program: bool = False) -> dict[str, SimpleNamespace]:
        """Return what is wrong by code, beside that the sensor does not run."""
        probes = {
            name: probe
            for name, probe in load_probes().items()
            if program or name not in SLOW
        }
        assert list(load_probes()) == list(PROBES)
        examination = examine(self.settings, self.fake.machine, probes)
        found = {finding.code: finding for finding in examination.findings}
        found.pop("not-running", None)
        for finding in found.values():
            # For people: a sentence, what was seen, and a way out.
            assert finding.what.endswith("."), finding
            assert finding.evidence, finding
            assert len(finding.remedy) > 10, finding
        return found

    def change(self, *keys: str, to: object) -> None:
        """Change a value of the stored configuration, valid or not."""
        content = json.loads(self.settings.program_file.read_text())
        here = content
        for key in keys[:-1]:
            here[key] = here.get(key) or {}
            here = here[key]
        here[keys[-1]] = to
        self.settings.program_file.write_text(json.dumps(content))

    def path(self, *keys: str) -> Path:
        """Return a path of the configuration; its directory exists."""
        value = json.loads(self.settings.program_file.read_text())
        for key in keys:
            value = value[key]
        Path(value).parent.mkdir(parents=True, exist_ok=True)
        return Path(value)


@pytest.fixture
def open_home(sensor):
    """A copy of the sensor, of user 12345, in a directory that all may enter."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be several users")
    # The directories of the tests are closed to others.
    with tempfile.TemporaryDirectory(prefix="acoupi-doctor-") as name:
        top = Path(name)
        top.chmod(0o755)
        shutil.copytree(sensor.settings.home, top / "home")
        own = Examined(Settings(top / "home"), sensor.fake)
        for path in [own.settings.home, *own.settings.home.rglob("*")]:
            os.chown(path, 12345, 12345)
        yield own


@pytest.fixture
def codes_for_user():
    """What a probe finds when another user asks."""

    def ask(user, probe, settings):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setuid(user)
                found = [finding.code for finding in probe(Sensor(settings))]
                os.write(writing, " ".join(found).encode())
            except BaseException as error:  # noqa: BLE001 - shown by the parent
                os.write(writing, repr(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            return answer.read().split()

    return ask


@pytest.fixture
def fake_machine(tmp_path):
    return FakeMachine(tmp_path / "machine")


@pytest.fixture
def sensor(tmp_path, monkeypatch, fake_machine):
    # What runs on the machine of the tests is not this sensor's.
    monkeypatch.setattr(liveness_module, "_managers", list)
    monkeypatch.setattr("acoupi.system.doctor.units._managers", list)
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path / "home"))
    settings = Settings(tmp_path / "home")
    setup_program(
        settings,
        "acoupi.programs.connected",
        {
            "microphone": {"source": "signal"},
            "recording": {"schedule_start": "00:00", "schedule_end": "00:00"},
            "paths": {"tmp_audio": str(tmp_path / "tmp")},
        },
    )
    return Examined(settings, fake_machine)
