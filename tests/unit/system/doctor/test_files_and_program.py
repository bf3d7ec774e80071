"""Each fault of the home and of the program is named, with its remedy."""

from __future__ import annotations

import os
import textwrap

import pytest

from acoupi.system import liveness as liveness_module
from acoupi.system.doctor import home
from acoupi.system.doctor.examination import PROBES, load_probes
from acoupi.system.doctor.home import probe as probe_home
from acoupi.system.doctor.sensor import Sensor

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def unreadable_json(sensor):
    sensor.settings.program_file.write_text('{"timezone": ')


HOME_FAULTS = {
    "not-set-up": (lambda s: s.settings.name_file.write_text(""), "acoupi setup"),
    "setup-interrupted": (
        lambda s: (s.settings.home / ".setup").mkdir(),
        "acoupi setup",
    ),
    "file-missing": (lambda s: s.settings.celery_file.unlink(), "acoupi setup"),
    "file-damaged": (unreadable_json, "acoupi setup"),
    "secrets-exposed": (lambda s: s.settings.celery_file.chmod(0o640), "chmod 600"),
    "script-broken": (lambda s: s.settings.beat_script.chmod(0o644), "acoupi setup"),
    "directory-missing": (lambda s: s.settings.run_dir.rmdir(), "mkdir"),
    "directory-read-only": (lambda s: s.settings.log_dir.chmod(0o555), "chmod u+rwx"),
    "home-open": (lambda s: s.settings.config_dir.chmod(0o777), "chmod o-w"),
}


@pytest.mark.parametrize("code", HOME_FAULTS)
def test_each_fault_of_the_home_is_named_alone_with_its_remedy(sensor, code):
    inject, remedy = HOME_FAULTS[code]
    inject(sensor)
    found = sensor.find()
    assert set(found) == {code}
    assert remedy in found[code].remedy


def test_a_file_that_a_managed_home_links_to_is_missing(sensor):
    sensor.settings.managed_file.write_text("NixOS\n")
    sensor.settings.program_file.unlink()
    sensor.settings.program_file.symlink_to("/nix/store/gone")
    found = sensor.find()
    assert "NixOS" in found["file-missing"].remedy


@as_root
def test_files_that_root_left_in_the_home_of_another_user(sensor):
    for path in [sensor.settings.home, *sensor.settings.home.rglob("*")]:
        os.chown(path, 12345, 12345)
    os.chown(sensor.settings.deployment_file.parent / "name", 0, 0)
    found = sensor.find()
    assert set(found) == {"files-of-another-user"}
    assert "config/name" in found["files-of-another-user"].evidence


@pytest.mark.parametrize("closed", ["home", "config", "config/program.json"])
def test_a_home_that_must_not_be_read_says_who_may(open_home, codes_for_user, closed):
    home = open_home.settings.home
    (home if closed == "home" else home / closed).chmod(0o700)
    found = codes_for_user(12346, probe_home, open_home.settings)
    assert found == ["home-unreadable"]
    assert "home-unreadable" not in codes_for_user(
        12345, probe_home, open_home.settings
    )


@pytest.mark.parametrize("name", PROBES)
def test_no_probe_fails_for_somebody_who_may_not_read_the_home(
    open_home, codes_for_user, name, monkeypatch
):
    process = liveness_module.ProcessState("beat", "running", os.getpid())
    alive = liveness_module.Liveness("systemd", (process,))
    monkeypatch.setattr(liveness_module, "observe_processes", lambda _: alive)
    probe = load_probes()[name]
    # Loads what it needs: Python itself may be closed to that user.
    list(probe(Sensor(open_home.settings)))
    found = codes_for_user(12346, probe, open_home.settings)
    # What went wrong is told in words of its own.
    assert not any("Error" in code for code in found), found


@pytest.fixture
def program(sensor, tmp_path, monkeypatch):
    """Set a program of these lines up, without asking whether it can be imported."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(code: str) -> None:
        (tmp_path / "faulty.py").write_text(textwrap.dedent(code))
        sensor.settings.name_file.write_text("faulty\n")

    return write


PROGRAM_FAULTS = {
    "raises": ("raise RuntimeError('no weights')", "program-broken", "no weights"),
    "exits": ("raise SystemExit(3)", "program-broken", "SystemExit"),
    "defines nothing": ("x = 1", "program-broken", "defines no program"),
    "hangs": ("import time; time.sleep(600)", "program-hangs", "importing faulty"),
    "crashes": ("import os; os.abort()", "program-dies", "signal 6"),
    "ends": ("import os; os._exit(7)", "program-dies", "code 7"),
    "forks and hangs": (
        "import os, time; os.fork(); time.sleep(600)",
        "program-hangs",
        "importing faulty",
    ),
}


@pytest.mark.parametrize("fault", PROGRAM_FAULTS)
def test_whatever_a_program_does_at_import_is_named(
    sensor, program, fault, monkeypatch
):
    code, wanted, evidence = PROGRAM_FAULTS[fault]
    program(code)
    monkeypatch.setattr("acoupi.system.doctor.configuration.PATIENCE", 5.0)
    found = sensor.find(program=True)
    assert set(found) == {wanted}
    assert evidence in found[wanted].evidence


def test_what_a_program_prints_does_not_hide_its_faults(sensor, program):
    program('print("{}\\n{\\"finding\\": 1}", flush=True); raise ValueError("oh")')
    assert set(sensor.find(program=True)) == {"program-broken"}


def test_a_program_that_is_not_installed(sensor):
    sensor.settings.name_file.write_text("acoupi_batts\n")
    found = sensor.find(program=True)
    assert set(found) == {"program-missing"}
    assert "acoupi_batts" in found["program-missing"].evidence
    assert "install" in found["program-missing"].remedy


def test_a_configuration_that_is_no_object_is_damaged(sensor):
    sensor.settings.program_file.write_text("[]")
    assert set(sensor.find(program=True)) == {"file-damaged"}


def test_a_configuration_without_any_setting_is_tried_like_others(sensor):
    sensor.settings.program_file.write_text("{}")
    assert "configuration-invalid" in sensor.find(program=True)


def test_a_file_that_goes_while_the_home_is_looked_at_is_no_fault(sensor, monkeypatch):
    passing = sensor.settings.log_dir / "passing.tmp"
    entries = home._entries

    def entries_then_gone(directory):
        passing.touch()
        found = entries(directory)
        passing.unlink()
        return found

    monkeypatch.setattr(home, "_entries", entries_then_gone)
    assert sensor.find() == {}


CONFIGURATION_FAULTS = {
    "configuration-invalid": lambda s: s.change("recording", "duration", to=-1),
    "celery-invalid": lambda s: s.settings.celery_file.write_text('{"pool": "many"}'),
    "generated-files-changed": lambda s: s.settings.app_file.write_text("app = 1\n"),
    "interpreter-missing": lambda s: s.settings.start_script.write_text(
        s.settings.start_script.read_text().replace("python=", "python=/gone")
    ),
}


@pytest.mark.parametrize("code", CONFIGURATION_FAULTS)
def test_each_fault_of_the_configuration_is_named_alone(sensor, code):
    CONFIGURATION_FAULTS[code](sensor)
    found = sensor.find(program=True)
    assert set(found) == {code}
    assert "acoupi" in found[code].remedy


def test_an_invalid_value_is_named_with_its_key(sensor):
    sensor.change("recording", "duration", to=-1)
    found = sensor.find(program=True)
    assert "recording.duration" in found["configuration-invalid"].evidence


def test_a_place_where_the_sensor_cannot_write(sensor):
    # Also root cannot make a directory below a file.
    (sensor.settings.home / "file").touch()
    recordings = sensor.settings.home / "file" / "recordings"
    sensor.change("paths", "recordings", to=str(recordings))
    found = sensor.find(program=True)
    assert "data-not-writable" in found
    assert str(recordings) in found["data-not-writable"].evidence


def test_what_the_sensors_user_may_do_is_tried_as_that_user(open_home):
    others = open_home.settings.home.parent / "others" / "recordings"
    open_home.change("paths", "recordings", to=str(others))
    found = open_home.find(program=True)
    # The environment of the tests may be closed to that user; then that is said.
    wanted = {"interpreter-forbidden", "data-not-writable"} & set(found)
    assert len(wanted) == 1
    assert "12345" in found[wanted.pop()].evidence


def test_a_schedule_that_never_records(sensor, program):
    program("""
        from acoupi.components.types import RecordingCondition
        from acoupi.programs.templates import (
            MessagingProgram, MessagingProgramConfiguration,
        )

        class Never(RecordingCondition):
            def should_record(self, now=None):
                return False

        class Program(MessagingProgram[MessagingProgramConfiguration]):
            config_schema = MessagingProgramConfiguration

            def get_recording_conditions(self, config):
                return [Never()]
    """)
    assert "schedule-empty" in sensor.find(program=True)


DAWN = """
    import zoneinfo
    from acoupi.components import DawnTimeInterval
    from acoupi.programs.templates import (
        MessagingProgram, MessagingProgramConfiguration,
    )

    class Program(MessagingProgram[MessagingProgramConfiguration]):
        config_schema = MessagingProgramConfiguration

        def get_recording_conditions(self, config):
            return [DawnTimeInterval({minutes}, zoneinfo.ZoneInfo(config.timezone))]
"""


def test_a_schedule_of_the_sun_without_a_place(sensor, program):
    from acoupi.system import start_deployment

    start_deployment(sensor.settings, "wood")
    program(DAWN.format(minutes=60))
    found = sensor.find(program=True)
    assert "place-unknown" in found
    assert "--latitude" in found["place-unknown"].remedy


def test_a_schedule_of_the_sun_with_a_place_is_well(sensor, program):
    from acoupi.system import start_deployment

    start_deployment(sensor.settings, "wood", 51.5, -0.1)
    program(DAWN.format(minutes=60))
    assert not {"place-unknown", "schedule-empty"} & set(sensor.find(program=True))


def test_a_schedule_that_the_program_refuses(sensor, program):
    program(DAWN.format(minutes=36_000))
    assert "schedule-invalid" in sensor.find(program=True)
