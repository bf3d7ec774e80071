"""Each fault of the services is named. Against a real systemd: tests/e2e."""

from __future__ import annotations

import json
import textwrap

import pytest

from acoupi.system import start_program
from acoupi.system import systemctl as systemctl_module
from acoupi.system.doctor import examine
from acoupi.system.doctor.examination import load_probes
from acoupi.system.doctor.trial import try_out
from acoupi.system.systemctl import ServiceManager

# Stands for systemctl: shows what is written in a file, by unit and property.
SYSTEMCTL = """\
#!/usr/bin/env python3
import json, pathlib, sys
words = [word for word in sys.argv[1:] if word != "--user"]
if words[0] == "show":
    said = json.loads(pathlib.Path(__file__).with_name("said").read_text())
    if "--value" in words:
        print(said.get(words[-1], {}).get("ConsistsOf", ""))
        sys.exit()
    for unit in words[2:]:
        values = {**said["all"], **said.get(unit, {})}
        print("\\n".join([f"Id={unit}", *(f"{k}={v}" for k, v in values.items())]))
        print()
"""

WELL = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "SubState": "running",
    "UnitFileState": "enabled",
    "NRestarts": "0",
    "Result": "success",
    "StatusText": "working",
}

DETECTION = "acoupi-worker-default.service"


class Systemd:
    """What systemctl says."""

    def __init__(self, directory, manager):
        self.file = directory / "said"
        self.unit_dir = manager.unit_dir
        self.say()

    def say(self, **units):
        self.file.write_text(json.dumps({"all": WELL, **units}))


@pytest.fixture(params=[True, False], ids=["system", "user"])
def systemd(sensor, install_systemctl, monkeypatch, request):
    """A sensor whose services are installed in a systemd of ours."""
    tools = install_systemctl(SYSTEMCTL)
    monkeypatch.setattr("acoupi.system.broker.find_server", lambda: "/a/server")
    manager = ServiceManager(system=request.param)
    monkeypatch.setattr("acoupi.system.doctor.units._managers", lambda: [manager])
    systemd = Systemd(tools, manager)
    start_program(sensor.settings, manager)
    if request.function is not test_services_of_a_former_configuration:
        monkeypatch.setattr("acoupi.system.doctor.units.try_program", try_here)
    return systemd


def try_here(sensor):
    """Try the program in this process, which is quicker; not what is tested here."""
    lines = []
    try_out(sensor.settings, None, lines.append)
    return [], next(line["units"] for line in lines if "units" in line)


@pytest.fixture
def find(sensor):
    def find():
        probes = {"units": load_probes()["units"]}
        found = examine(sensor.settings, sensor.fake.machine, probes).findings
        return {finding.code: finding for finding in found}

    return find


def test_services_that_run_are_well(systemd, find):
    assert find() == {}


def test_a_sensor_without_services_is_well(sensor, find, monkeypatch, tmp_path):
    monkeypatch.setattr(systemctl_module, "RUNNING_SYSTEMD", tmp_path)
    monkeypatch.setattr(systemctl_module, "SYSTEM_UNITS", tmp_path / "etc")
    manager = ServiceManager(system=True)
    monkeypatch.setattr("acoupi.system.doctor.units._managers", lambda: [manager])
    assert find() == {}


FAULTS = {
    "failed": ({"ActiveState": "failed", "Result": "exit-code"}, "service-fails"),
    "in a loop": (
        {"ActiveState": "activating", "SubState": "auto-restart", "NRestarts": "41"},
        "service-fails",
    ),
    "killed for memory": (
        {"ActiveState": "failed", "Result": "oom-kill"},
        "service-fails",
    ),
    "restarted often": ({"NRestarts": "7"}, "service-restarts"),
    "stopped": ({"ActiveState": "inactive", "SubState": "dead"}, "service-stopped"),
    "masked": ({"LoadState": "masked", "ActiveState": "inactive"}, "service-masked"),
    "hanging": (
        {"StatusText": "not working: task detect has been running for 900 s"},
        "worker-hangs",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_service_is_named_alone(systemd, find, fault):
    values, code = FAULTS[fault]
    systemd.say(**{DETECTION: values})
    found = find()
    assert set(found) == {code}
    assert DETECTION in found[code].evidence


def test_memory_is_named_as_the_reason(systemd, find):
    systemd.say(**{DETECTION: {"ActiveState": "failed", "Result": "oom-kill"}})
    assert "memory" in find()["service-fails"].evidence


@pytest.mark.parametrize(
    ("state", "code"), [("disabled", "not-at-boot"), ("masked", "services-masked")]
)
def test_services_that_will_not_start_at_boot(systemd, find, state, code):
    systemd.say(**{"acoupi.target": {"UnitFileState": state}})
    assert set(find()) == {code}


def test_a_service_that_was_removed(systemd, find):
    (systemd.unit_dir / DETECTION).unlink()
    found = find()
    assert set(found) == {"services-missing"}
    assert DETECTION in found["services-missing"].evidence


def test_services_of_a_former_configuration(systemd, find, sensor):
    sensor.settings.celery_file.write_text('{"broker_url": "redis://elsewhere/0"}')
    found = find()
    assert set(found) == {"services-outdated"}
    assert "acoupi restart" in found["services-outdated"].remedy


def test_a_systemd_that_does_not_answer(systemd, find, tmp_path, monkeypatch):
    (tmp_path / "tools/systemctl").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr("acoupi.system.doctor.units.PATIENCE", 0.5)
    assert set(find()) == {"systemd-silent"}


def test_services_that_somebody_else_wrote(systemd, find, sensor):
    for unit in systemd.unit_dir.iterdir():
        unit.unlink()
    home = str(sensor.settings.home)
    target = {"ConsistsOf": f"{DETECTION} other.service", "UnitFileState": "linked"}
    systemd.say(**{"acoupi.target": target, DETECTION: {"WorkingDirectory": home}})
    assert find() == {}
    failing = {"WorkingDirectory": home, "ActiveState": "failed"}
    another = {"WorkingDirectory": "/", "ActiveState": "failed"}
    systemd.say(
        **{"acoupi.target": target, DETECTION: failing, "other.service": another}
    )
    found = find()
    assert set(found) == {"service-fails"}
    assert DETECTION in found["service-fails"].evidence


def test_the_text_of_a_unit_may_hold_anything(systemd, find):
    file = systemd.unit_dir / DETECTION
    first = file.read_text().partition("\n")[0]
    file.write_bytes(first.encode() + textwrap.dedent("\n\xff").encode("latin-1"))
    assert "probe-failed" not in find()
