"""Starting and stopping goes through systemd, with one home's units only."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from acoupi.errors import ConfigurationError
from acoupi.system import (
    CeleryConfig,
    Settings,
    restart_program,
    setup_program,
    start_program,
    stop_program,
)
from acoupi.system import systemctl as systemctl_module
from acoupi.system.liveness import observe_processes
from acoupi.system.systemctl import ServiceError, ServiceManager

# Stands for systemctl: notes its arguments and keeps the target's state in a file.
SYSTEMCTL = """#!/usr/bin/env bash
directory=$(dirname "$0")
echo "$*" >>"$directory/calls"
[[ -e "$directory/broken" ]] && echo "Access denied" >&2 && exit 4
[[ "$1" == --user ]] && shift
case "$1" in
list-jobs)
    echo "41 acoupi.target start waiting"
    echo "42 acoupi-worker-x.service start running"
    touch "$directory/asked" ;;
start | restart)
    while [[ -e "$directory/slow" && ! -e "$directory/asked" ]]; do sleep 0.05; done
    [[ -e "$directory/hangs" ]] && exec sleep 600
    echo active >"$directory/state" ;;
stop) echo inactive >"$directory/state" ;;
is-active) cat "$directory/state" 2>/dev/null || echo inactive ;;
show)
    if [[ "$2" == --value ]]; then
        echo "acoupi-worker-x.service acoupi-beat.service"
        exit
    fi
    shift 2
    for unit in "$@"; do
        printf 'Id=%s\\nActiveState=%s\\n' "$unit" "$(cat "$directory/state")"
        printf 'SubState=running\\nMainPID=42\\nNRestarts=3\\n\\n'
    done ;;
esac
"""


@pytest.fixture
def machine(install_systemctl, tmp_path, monkeypatch):
    """A machine with a systemd of ours."""
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path / "home"))
    return install_systemctl(SYSTEMCTL)


@pytest.fixture(params=[True, False], ids=["system", "user"])
def manager(request):
    return ServiceManager(system=request.param)


@pytest.fixture
def settings(machine, tmp_path, monkeypatch):
    monkeypatch.setattr("acoupi.system.broker.find_server", lambda: "/a/server")
    settings = Settings(tmp_path / "home")
    setup_program(settings, "acoupi.programs.default")
    return settings


def calls(machine: Path) -> list[str]:
    text = (machine / "calls").read_text() if (machine / "calls").exists() else ""
    return [line.removeprefix("--user ") for line in text.splitlines()]


def units(manager: ServiceManager) -> set[str]:
    return {path.name for path in manager.unit_dir.iterdir()}


def test_starting_installs_the_units_and_starts_the_target_now_and_at_boot(
    settings, machine, manager
):
    start_program(settings, manager)
    assert units(manager) == {
        "acoupi.target",
        "acoupi-beat.service",
        "acoupi-broker.service",
        "acoupi-worker-default.service",
        "acoupi-worker-recording.service",
    }
    assert [call.split()[0] for call in calls(machine)] == [
        "daemon-reload",
        "enable",
        "start",
    ]


@pytest.mark.parametrize("verb", ["enable", "disable"])
def test_what_happens_at_boot_survives_a_power_cut(
    settings, machine, manager, monkeypatch, verb
):
    synced = []

    def note(directory):
        asked = [call.split()[0] for call in calls(machine)]
        if verb in asked:
            synced.append(directory.relative_to(manager.unit_dir).as_posix())

    start_program(settings, manager)
    (manager.unit_dir / "multi-user.target.wants").mkdir()
    (machine / "calls").unlink()
    monkeypatch.setattr("acoupi.system.services.sync_directory", note)
    {"enable": start_program, "disable": stop_program}[verb](settings, manager)
    assert synced == [".", "multi-user.target.wants"]


def test_users_talk_to_their_own_manager_and_root_to_the_systems(settings, machine):
    start_program(settings, ServiceManager(system=False))
    text = (machine / "calls").read_text()
    assert all(line.startswith("--user ") for line in text.splitlines())
    (machine / "calls").unlink()
    start_program(settings, ServiceManager(system=True))
    assert "--user" not in (machine / "calls").read_text()


def test_stopping_disables_and_stops_the_target(settings, machine, manager):
    start_program(settings, manager)
    (machine / "calls").unlink()
    stop_program(settings, manager)
    # The target alone would not wait for its services to end.
    services = sorted(units(manager) - {"acoupi.target"})
    assert calls(machine) == [
        "disable acoupi.target",
        " ".join(["stop", "acoupi.target", *services]),
    ]


def test_restarting_installs_the_present_units(settings, machine, manager):
    start_program(settings, manager)
    setup_program(
        settings,
        "acoupi.programs.default",
        celery_config=CeleryConfig(broker_url="redis://localhost"),
    )
    restart_program(settings, manager)
    assert "acoupi-broker.service" not in units(manager)
    assert "stop acoupi-broker.service" in calls(machine)
    assert calls(machine)[-1].startswith("restart acoupi.target acoupi-beat.service")


def test_units_of_a_former_program_are_removed_and_others_units_left(
    settings, machine, manager
):
    manager.unit_dir.mkdir(parents=True)
    foreign = manager.unit_dir / "acoupi-backup.service"
    foreign.write_text("[Service]\nExecStart=/bin/true\n")
    setup_program(settings, "acoupi.programs.activity")
    start_program(settings, manager)
    assert "acoupi-worker-detection.service" in units(manager)
    setup_program(settings, "acoupi.programs.default")
    start_program(settings, manager)
    assert "acoupi-worker-detection.service" not in units(manager)
    assert foreign.exists()


def test_directories_of_the_configuration_are_made_for_the_services(
    settings, machine, manager, tmp_path
):
    config = json.loads(settings.program_file.read_text())
    config["paths"]["recordings"] = str(tmp_path / "disk/recordings")
    setup_program(settings, "acoupi.programs.default", config)
    start_program(settings, manager)
    assert (tmp_path / "disk/recordings").is_dir()
    if manager.system:
        text = (manager.unit_dir / "acoupi-worker-default.service").read_text()
        assert "ReadWritePaths=" in text


def test_a_running_sensor_of_another_home_is_not_touched(
    settings, machine, manager, tmp_path
):
    start_program(settings, manager)
    before = {name: (manager.unit_dir / name).read_bytes() for name in units(manager)}
    other = Settings(tmp_path / "other")
    setup_program(other, "acoupi.programs.default")
    (machine / "calls").unlink()
    for action in (start_program, stop_program, restart_program):
        with pytest.raises(ServiceError, match=str(settings.home)):
            action(other, manager)
    assert {c.split()[0] for c in calls(machine)} == {"is-active"}
    assert before == {
        name: (manager.unit_dir / name).read_bytes() for name in units(manager)
    }


def test_a_stopped_sensor_of_another_home_gives_way(
    settings, machine, manager, tmp_path
):
    start_program(settings, manager)
    stop_program(settings, manager)
    other = Settings(tmp_path / "other")
    setup_program(other, "acoupi.programs.default")
    start_program(other, manager)
    assert str(other.home) in (manager.unit_dir / "acoupi.target").read_text()


@pytest.fixture
def managed(settings):
    """A home whose services the system declares."""
    settings.managed_file.write_text("NixOS (services.acoupi)\n")
    return settings


def test_services_that_the_system_declares_are_started_and_left_as_they_are(
    managed, machine
):
    manager = ServiceManager(system=True)
    assert start_program(managed, manager) == []
    assert restart_program(managed, manager) == []
    (warning,) = stop_program(managed, manager)
    assert "next boot" in warning
    assert "NixOS (services.acoupi)" in warning
    services = "acoupi-beat.service acoupi-worker-x.service"
    assert [call for call in calls(machine) if not call.startswith("show")] == [
        "start acoupi.target",
        f"restart acoupi.target {services}",
        f"stop acoupi.target {services}",
    ]
    assert not manager.unit_dir.exists()


def test_services_that_the_system_declares_are_roots(managed, machine):
    manager = ServiceManager(system=False)
    for action in (start_program, stop_program, restart_program):
        with pytest.raises(ServiceError, match="sudo acoupi") as caught:
            action(managed, manager)
        assert "NixOS (services.acoupi)" in str(caught.value)
    assert calls(machine) == []


def test_without_systemd_the_other_ways_are_named(settings, monkeypatch, tmp_path):
    monkeypatch.setattr(systemctl_module, "RUNNING_SYSTEMD", tmp_path / "gone")
    for action in (start_program, stop_program, restart_program):
        with pytest.raises(ServiceError, match="acoupi run") as caught:
            action(settings)
        assert str(settings.start_script) in str(caught.value)


def test_what_systemctl_says_is_passed_on(settings, machine, manager):
    (machine / "broken").touch()
    with pytest.raises(ServiceError, match="Access denied"):
        start_program(settings, manager)


def test_who_waits_for_systemd_is_told_what_for(settings, machine, monkeypatch):
    monkeypatch.setattr(systemctl_module, "_SILENCE", 0.3)
    (machine / "slow").touch()
    said = []
    start_program(settings, ServiceManager(system=True, report=said.append))
    assert re.fullmatch(
        r"Waiting for systemd, \d+ s "
        r"\(acoupi.target: start, acoupi-worker-x.service: start\)",
        said[0],
    )


def test_who_does_not_wait_long_is_told_nothing(settings, machine):
    said = []
    start_program(settings, ServiceManager(system=True, report=said.append))
    assert said == []


def test_waiting_for_systemd_ends_and_the_way_on_is_named(
    settings, machine, monkeypatch
):
    monkeypatch.setattr(systemctl_module, "_PATIENCE", 0.5)
    (machine / "hangs").touch()
    with pytest.raises(ServiceError, match=r"acoupi-worker-x.*acoupi status"):
        start_program(settings, ServiceManager(system=True))


def test_nothing_is_installed_for_a_configuration_that_is_not_valid(
    settings, machine, manager
):
    settings.program_file.write_text("{}")
    with pytest.raises(ConfigurationError, match="microphone"):
        start_program(settings, manager)
    assert not manager.unit_dir.exists()
    assert calls(machine) == []


def test_a_missing_server_for_the_broker_is_named_before_anything_is_installed(
    settings, machine, manager, monkeypatch
):
    monkeypatch.setattr("acoupi.system.broker.find_server", lambda: None)
    with pytest.raises(ServiceError, match="redis-server"):
        start_program(settings, manager)
    assert not manager.unit_dir.exists()


def test_stopping_what_was_never_started_says_so(settings, machine, manager):
    with pytest.raises(ServiceError, match="acoupi start"):
        stop_program(settings, manager)


def test_a_user_without_lingering_is_warned_with_the_remedy(settings, machine):
    (machine / "loginctl").write_text("#!/bin/sh\necho denied >&2; exit 1\n")
    warnings = start_program(settings, ServiceManager(system=False))
    assert "loginctl enable-linger" in warnings[0]
    assert "denied" in warnings[0]


def test_the_state_of_each_service_is_seen(settings, machine, manager):
    start_program(settings, manager)
    alive = observe_processes(settings, manager)
    assert alive.running
    assert alive.kept_by == ("systemd" if manager.system else "systemd-user")
    beat = next(process for process in alive.processes if process.name == "beat")
    assert (beat.state, beat.pid, beat.restarts) == ("running", 42, 3)
    stop_program(settings, manager)
    assert not observe_processes(settings, manager).running


def test_services_run_as_the_owner_of_the_home(settings, machine):
    if os.geteuid() != 0:
        pytest.skip("needs root to give a home to somebody else")
    os.chown(settings.home, 1, 1)
    manager = ServiceManager(system=True)
    start_program(settings, manager)
    assert "User=daemon" in (manager.unit_dir / "acoupi-beat.service").read_text()
