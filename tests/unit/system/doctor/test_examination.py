"""An examination ends, whatever the sensor is like, and leaves no trace."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from acoupi.cli import main
from acoupi.system import Settings
from acoupi.system.doctor import examine
from acoupi.system.doctor.findings import error


def everything_in(directory):
    return {
        str(path): (
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [directory, *directory.rglob("*")]
    }


def test_a_sensor_as_it_was_set_up_has_no_faults(sensor):
    assert sensor.find(program=True) == {}


def test_a_sensor_that_does_not_run_is_found(sensor):
    findings = examine(sensor.settings, sensor.fake.machine).findings
    assert [finding.code for finding in findings] == ["not-running"]
    assert "acoupi start" in findings[0].remedy


def test_nothing_is_changed(sensor):
    before = everything_in(sensor.settings.home)
    examine(sensor.settings, sensor.fake.machine)
    assert everything_in(sensor.settings.home) == before


def test_a_probe_that_fails_is_a_finding_and_the_others_go_on(sensor):
    def fails(_):
        yield error("first", "First.", "seen", "do")
        raise RuntimeError("broken inside")

    def works(_):
        yield error("other", "Other.", "seen", "do")

    found = examine(sensor.settings, None, {"one": fails, "two": works}).findings
    assert {finding.code for finding in found} == {"first", "other", "probe-failed"}
    (failed,) = [finding for finding in found if finding.code == "probe-failed"]
    assert "one" in failed.what
    assert "broken inside" in failed.evidence


def test_a_probe_that_hangs_is_a_finding_and_does_not_hold_up_the_others(sensor):
    released = threading.Event()

    def hangs(_):
        yield error("first", "First.", "seen", "do")
        released.wait(60)

    began = time.monotonic()
    try:
        found = examine(sensor.settings, None, {"one": hangs}, patience=0.2).findings
    finally:
        released.set()
    assert time.monotonic() - began < 30
    assert {finding.code for finding in found} == {"first", "probe-hangs"}


def test_errors_come_before_warnings(sensor):
    sensor.fake.clock_is_set = False
    sensor.settings.program_file.chmod(0o644)
    severities = [
        finding.severity
        for finding in examine(sensor.settings, sensor.fake.machine).findings
    ]
    assert severities == sorted(severities)
    assert set(severities) == {"error", "warning"}


@pytest.mark.parametrize(
    "content", ["[]", '{"paths": 1}', '{"paths": {"tmp_audio": 3}}']
)
def test_a_configuration_of_any_shape_fails_no_probe(sensor, content):
    sensor.settings.program_file.write_text(content)
    sensor.settings.celery_file.write_text("[1]")
    assert "probe-failed" not in sensor.find(program=True)


def test_a_home_that_is_a_file_or_empty_fails_no_probe(tmp_path, sensor):
    for home in (tmp_path / "none", sensor.settings.name_file):
        codes = {f.code for f in examine(Settings(home), sensor.fake.machine).findings}
        assert "not-set-up" in codes
        assert "probe-failed" not in codes


def test_the_command_names_what_is_wrong_and_exits_with_1(sensor, capsys):
    sensor.settings.program_file.chmod(0o644)
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "[secrets-exposed]" in shown
    assert f"chmod 600 {sensor.settings.program_file}" in shown


def test_the_command_prints_json_for_machines(sensor, capsys):
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["healthy"] is False
    assert found["home"] == str(sensor.settings.home)
    assert "not-running" in {finding["code"] for finding in found["findings"]}
    assert {"home", "microphone", "databases"} <= set(found["examined"])


def test_no_descriptor_is_left_open(sensor):
    examine(sensor.settings, sensor.fake.machine)
    before = len(list(Path("/proc/self/fd").iterdir()))
    examine(sensor.settings, sensor.fake.machine)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
