"""Services that somebody else declared are seen as the sensor's own."""

from __future__ import annotations

import pytest

from acoupi.system import Settings
from acoupi.system.liveness import is_failing, observe_processes
from acoupi.system.systemctl import ServiceManager


class Systemd(ServiceManager):
    """A system whose units were not written by acoupi, as on NixOS."""

    available = True

    def __init__(self, home, directory):
        super().__init__(system=True)
        self.home = home
        self.directory = directory

    @property
    def unit_dir(self):
        return self.directory

    def call(self, *arguments):
        if "--property=ConsistsOf" in arguments:
            return "acoupi-beat.service acoupi-worker-recording.service\n"
        return "\n\n".join(
            f"Id={unit}\nActiveState=active\nSubState=running\nMainPID=7\n"
            f"NRestarts=0\nWorkingDirectory={self.home}"
            for unit in arguments[2:]
        )


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "home")


def test_services_that_the_system_declares_are_found(settings, tmp_path):
    found = observe_processes(settings, Systemd(settings.home, tmp_path))
    assert found.kept_by == "systemd"
    assert {it.name for it in found.processes} == {"beat", "worker-recording"}
    assert {it.state for it in found.processes} == {"running"}


def test_those_of_another_home_are_not_its_own(settings, tmp_path):
    found = observe_processes(settings, Systemd("/elsewhere", tmp_path))
    assert not found.running
    assert found.kept_by is None


def test_a_directory_of_units_that_may_not_be_seen_is_no_error(
    settings, tmp_path, monkeypatch
):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.glob", refuse)
    systemd = Systemd(settings.home, tmp_path)
    assert observe_processes(settings, systemd).kept_by == "systemd"


@pytest.mark.parametrize(
    ("active", "sub", "restarts", "failing"),
    [
        ("active", "running", "0", False),
        ("active", "running", "40", False),
        ("activating", "start", "0", False),
        # One that was killed comes back.
        ("activating", "start", "1", False),
        # Started again at once, it is hardly ever seen waiting.
        ("activating", "start", "40", True),
        ("activating", "auto-restart", "1", True),
        ("failed", "failed", "", True),
        ("inactive", "dead", "40", False),
    ],
)
def test_a_service_that_does_not_stay_up_is_seen(active, sub, restarts, failing):
    values = {"ActiveState": active, "SubState": sub, "NRestarts": restarts}
    assert is_failing(values) is failing
