"""Machines for the tests of whole sensors."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCENARIOS = HERE.parent / "nixos" / "scenarios"

# The scenarios are also imported by NixOS' test driver, which has no package of ours.
for directory in (HERE, SCENARIOS):
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))

import layers  # noqa: E402 - found through the paths above
import machine  # noqa: E402
import sound  # noqa: E402
from sensor import Sensor, eventually  # noqa: E402

MACHINE = pytest.StashKey[machine.NspawnMachine]()

CONFIG = {
    "timezone": "UTC",
    "microphone": {"device_name": "microphone"},
    "recording": {
        "duration": 1,
        "interval": 1,
        "schedule_start": "00:00",
        "schedule_end": "00:00",
    },
    "messaging": {
        "message_send_interval": 1,
        "mqtt": {"host": "127.0.0.1", "port": 1883},
    },
}


@pytest.fixture(scope="session")
def system():
    """The layers that machines boot from, with this checkout installed."""
    reason = layers.missing()
    if reason:
        pytest.skip(reason)
    top = machine.scratch_directory("e2e-acoupi-")
    try:
        lower = layers.cached_layers()
        layers.install_checkout(top, lower)
        layers.configure(top)
        yield [top, *lower]
    except layers.CannotBuildError as error:
        pytest.skip(f"no system to boot: {error}")
    finally:
        shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def chirps(tmp_path):
    path = tmp_path / "chirps.wav"
    sound.write_chirps(str(path))
    return str(path)


@pytest.fixture
def booted(system, request):
    """A machine that runs, without a sensor."""
    booted = machine.NspawnMachine("sensor", system)
    request.node.stash[MACHINE] = booted
    try:
        booted.start()
        yield booted
    finally:
        booted.discard()


@pytest.fixture
def sensor(booted, chirps, tmp_path):
    """A sensor of a user of its own, started by root, that hears chirps."""
    booted.succeed(
        "useradd --system --no-create-home acoupi",
        "install --directory --owner=acoupi --group=acoupi /var/lib/acoupi",
    )
    return _set_up(booted, chirps, tmp_path, "acoupi")


@pytest.fixture
def sensor_of_root(booted, chirps, tmp_path):
    """A sensor that root set up and started, and that hears chirps."""
    return _set_up(booted, chirps, tmp_path, "root")


def _set_up(booted, chirps, directory, user):
    sensor = Sensor(
        booted,
        booted,
        play="paplay --server=unix:/run/microphone/native",
        user=user,
    )
    settings = directory / "settings.json"
    settings.write_text(json.dumps(CONFIG))
    booted.copy_from_host(str(settings), "/run/settings.json")
    booted.wait_for_unit("microphone.service")
    booted.wait_for_unit("listener.service")
    sensor.play_sound(chirps)
    sensor.listening = booted.succeed("ss -Hlntu")
    program = [
        "--program",
        "acoupi.programs.activity",
        "--config",
        "/run/settings.json",
    ]
    for arguments in (
        ["setup", "--no-prompt", *program],
        ["deployment", "start", "me"],
    ):
        home = f"ACOUPI_HOME={sensor.home}"
        booted.succeed(sensor.as_owner("env", home, "acoupi", *arguments))
    sensor.acoupi("start")
    eventually("recording", sensor.is_recording)
    return sensor


def _evidence(booted):
    parts = [f"--- console\n{booted.console[-2000:]}"]
    for command in (
        "systemctl --no-pager list-units 'acoupi*'",
        "journalctl --boot --no-pager --lines=120",
        "ACOUPI_HOME=/var/lib/acoupi acoupi status",
    ):
        try:
            parts.append(f"--- {command}\n{booted.execute(command, 20)[1]}")
        except (machine.MachineError, OSError) as error:
            parts.append(f"--- {command}\n{error}")
    return "\n".join(parts)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    booted = item.stash.get(MACHINE, None)
    if report.failed and report.when in {"setup", "call"} and booted is not None:
        report.sections.append(("machine", _evidence(booted)))


def pytest_terminal_summary(terminalreporter):
    boots, retries = machine.NspawnMachine.boots, machine.NspawnMachine.retries
    if boots:
        terminalreporter.write_line(
            f"machines booted: {boots}, of which tried again: {retries}"
        )
