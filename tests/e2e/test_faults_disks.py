"""Disks that are full or cannot be written, under a real systemd."""

from __future__ import annotations

import copy
from pathlib import Path

import disks
import pytest
from installation import CONFIG, install_sensor

pytestmark = pytest.mark.timeout(600)

DATA = "/var/lib/acoupi"


@pytest.fixture
def sensor_on_a_small_disk(booted, chirps):
    """A sensor whose whole home is on a disk of 24 MB."""
    disks.make_memory_disk(booted, DATA, "24M", inodes=1000)
    config = copy.deepcopy(CONFIG)
    # A policy would delete recordings as soon as space is short: none here.
    config["retention"] = {"min_free_space": 0}
    return install_sensor(booted, chirps, config=config)


def test_a_disk_that_fills_up_and_is_emptied_loses_nothing(sensor_on_a_small_disk):
    sensor = sensor_on_a_small_disk
    disks.records_while_full(sensor, DATA)
    disks.records_while_full(
        sensor, DATA, disks.FILL_INODES, disks.EMPTY_INODES, kill=False
    )
    disks.records_on_a_read_only_disk(sensor, DATA)


@pytest.mark.slow
def test_a_disk_without_inodes_keeps_nothing_from_starting(sensor_on_a_small_disk):
    disks.records_while_full(
        sensor_on_a_small_disk, DATA, disks.FILL_INODES, disks.EMPTY_INODES
    )


def test_memory_that_fills_up_drops_the_oldest_and_counts_them(booted, chirps):
    place = "/run/waiting"
    disks.make_memory_disk(booted, place, "1M")
    config = copy.deepcopy(CONFIG)
    config["paths"] = {"tmp_audio": f"{place}/audio"}
    sensor = install_sensor(booted, chirps, config=config)
    disks.drops_the_oldest_when_memory_is_full(sensor, place)


def test_a_disk_that_refuses_to_flush_loses_nothing(sensor):
    for library in disks.FAULT_LIBRARIES:
        if not Path(library).exists():
            pytest.skip(f"{library} is not installed (Debian: libfiu0)")
    disks.let_flushing_fail(sensor)
    disks.goes_on_when_flushing_fails(sensor, seconds=8)
