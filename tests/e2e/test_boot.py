"""A whole sensor under a real systemd: the scenarios of tests/nixos, on Debian."""

from __future__ import annotations

import contextlib

import end_to_end
import faults
import pytest
import services
from installation import install_sensor

# The first run makes the file system, which takes some minutes.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def sensor(share, boot, system, chirps):
    """A sensor of a user of its own, started by root, as the test before left it."""

    @contextlib.contextmanager
    def make():
        with boot("sensor", system) as booted:
            yield install_sensor(booted, chirps)

    return share("of a user", make)


def test_sound_becomes_detections_kept_files_and_messages(sensor):
    end_to_end.hears_keeps_and_tells(sensor)


def test_start_stop_and_status_act_on_the_services(sensor):
    services.stops_and_starts(sensor)
    end_to_end.detects_and_delivers(sensor)
    end_to_end.is_in_order(sensor, sensor.listening)


def test_each_process_that_is_killed_comes_back(sensor):
    faults.comes_back_from_kills(sensor)


def test_the_watchdog_replaces_a_process_that_hangs(sensor):
    faults.restarts_what_hangs(sensor, "acoupi-worker-detection.service")


def test_after_a_reboot_the_sensor_goes_on_by_itself(sensor, chirps):
    end_to_end.goes_on_after_a_reboot(sensor, chirps)
    end_to_end.is_in_order(sensor, sensor.listening)


def test_nothing_acknowledged_is_lost_when_the_power_goes(sensor, chirps):
    faults.loses_nothing_acknowledged(sensor, chirps)


def test_start_stop_and_status_act_on_the_services_of_root(booted, chirps):
    sensor = install_sensor(booted, chirps, user="root")
    services.stops_and_starts(sensor)
    end_to_end.detects_and_delivers(sensor)
    end_to_end.is_in_order(sensor, sensor.listening)
