"""The services of the NixOS module under a real systemd, without NixOS."""

from __future__ import annotations

import contextlib

import diagnoses
import end_to_end
import passwords
import pytest
import services
from installation import ACTIVITY, config_of, declared_sensor
from sensor import eventually

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def sensor(share, boot, system, nix_layer, chirps):
    """A sensor that began to record by being switched on; tests share it."""
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

    @contextlib.contextmanager
    def make():
        with nix_layer(settings, appliance=False) as top:
            password = top / passwords.FILE.lstrip("/")
            password.parent.mkdir(parents=True)
            password.write_text(f"{passwords.PASSWORD}\n")
            password.chmod(0o600)
            with boot("nix", [top, *system]) as booted:
                found = declared_sensor(booted, chirps)
                eventually("recording", found.is_recording)
                yield found

    return share("declared", make)


def test_sound_becomes_detections_kept_files_and_messages(sensor):
    end_to_end.hears_keeps_and_tells(sensor)


def test_the_doctor_names_faults_of_a_sensor_that_is_well_otherwise(sensor):
    diagnoses.names_each_fault(sensor, diagnoses.GROUPS_OF_DECLARED)


def test_start_stop_and_status_act_on_the_declared_services(sensor):
    services.stops_and_starts(sensor, at_boot=False)
    end_to_end.detects_and_delivers(sensor)


def test_after_a_reboot_the_sensor_goes_on_by_itself(sensor, chirps):
    end_to_end.goes_on_after_a_reboot(sensor, chirps)
    end_to_end.is_in_order(sensor, sensor.listening)


def test_secrets_are_used_and_nowhere_to_be_read(sensor):
    passwords.are_nowhere_to_be_read(sensor, "ls -d /nix/store/*")
