"""The services of the NixOS module under a real systemd, without NixOS."""

from __future__ import annotations

import shutil

import end_to_end
import machine
import nix_units
import passwords
import pytest
import services
from installation import ACTIVITY, config_of
from sensor import Sensor, eventually

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def nix_system(system):
    """The layers of a system whose services are those that the module declares."""
    config = config_of(ACTIVITY)
    config["messaging"]["mqtt"] |= {
        "username": "sensor",
        "password": {"_secret": "mqtt"},
    }
    settings = {
        "program": ACTIVITY,
        "settings": config,
        "credentials": {"mqtt": passwords.FILE},
        "deployment": {"name": "garden", "latitude": 51.66, "longitude": 0.05},
    }
    reason = nix_units.missing()
    if reason:
        pytest.skip(reason)
    top = machine.scratch_directory("e2e-nix-")
    evaluated = nix_units.NixSystem(settings, appliance=False)
    try:
        evaluated.write(top)
        evaluated.build(top, system)
        password = top / passwords.FILE.lstrip("/")
        password.parent.mkdir(parents=True)
        password.write_text(f"{passwords.PASSWORD}\n")
        password.chmod(0o600)
        yield [top, *system]
    finally:
        evaluated.discard()
        shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def sensor(nix_system, chirps, watched):
    """A sensor that began to record by being switched on."""
    booted = watched(machine.NspawnMachine("nix", nix_system))
    try:
        booted.start()
        found = Sensor(
            booted,
            booted,
            play="paplay --server=unix:/run/microphone/native",
            user=nix_units.USER,
            broker="redis-acoupi.service",
        )
        found.play_sound(chirps)
        found.listening = booted.succeed("ss -Hlntu")
        eventually("recording", found.is_recording)
        yield found
    finally:
        booted.discard()


def test_sound_becomes_detections_kept_files_and_messages(sensor):
    end_to_end.keeps(sensor, end_to_end.detects_and_delivers(sensor))
    end_to_end.is_in_order(sensor, sensor.listening)
    end_to_end.is_confined(sensor)


def test_after_a_reboot_the_sensor_goes_on_by_itself(sensor, chirps):
    end_to_end.goes_on_after_a_reboot(sensor, chirps)
    end_to_end.is_in_order(sensor, sensor.listening)


def test_start_stop_and_status_act_on_the_declared_services(sensor):
    services.stops_and_starts(sensor, at_boot=False)
    end_to_end.detects_and_delivers(sensor)


def test_secrets_are_used_and_nowhere_to_be_read(sensor):
    passwords.are_nowhere_to_be_read(sensor, "ls -d /nix/store/*")
