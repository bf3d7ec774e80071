"""Each fault of the board, the clock, the disks and the logs is named."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import time

import pytest

from acoupi.audio.wallclock import read_boot_id
from acoupi.system.doctor.disks import probe as probe_disks

THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"


def undervoltage_of_the_mainline_driver(fake):
    fake.write("sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    fake.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")


BOARD_FAULTS = {
    "undervoltage now": (lambda f: f.write(THROTTLED, "50005\n"), "undervoltage"),
    "undervoltage, mainline": (undervoltage_of_the_mainline_driver, "undervoltage"),
    "undervoltage before": (
        lambda f: f.write(THROTTLED, "50000\n"),
        "undervoltage-before",
    ),
    "heat": (
        lambda f: f.write("sys/class/thermal/thermal_zone0/temp", "83200\n"),
        "overheating",
    ),
    "memory": (
        lambda f: f.write(
            "proc/meminfo", "MemTotal: 500000 kB\nMemAvailable: 9000 kB\n"
        ),
        "memory-low",
    ),
    "killed for memory": (
        lambda f: f.write("proc/vmstat", "pgfault 7\noom_kill 3\n"),
        "out-of-memory",
    ),
    "load": (
        lambda f: f.write("proc/loadavg", "9.0 9.0 12.50 3/100 1\n"),
        "overloaded",
    ),
    "errors of the file system": (
        lambda f: f.write("sys/fs/ext4/sda1/errors_count", "4\n"),
        "disk-errors",
    ),
    "worn eMMC": (
        lambda f: f.write("sys/block/mmcblk0/device/pre_eol_info", "0x03\n"),
        "card-worn",
    ),
}


@pytest.mark.parametrize("fault", BOARD_FAULTS)
def test_each_fault_of_the_board_is_named_alone(sensor, fault):
    inject, code = BOARD_FAULTS[fault]
    inject(sensor.fake)
    assert set(sensor.find()) == {code}


def test_a_machine_that_tells_nothing_has_no_faults(sensor, tmp_path):
    sensor.fake.root = tmp_path / "nothing"
    assert sensor.find() == {}


def test_files_of_any_content_fail_no_probe(sensor):
    for path in [path for path in sensor.fake.root.rglob("*") if path.is_file()]:
        path.write_bytes(b"\xff\x00 what?\n")
    assert sensor.find() == {}


def test_a_clock_that_was_never_set(sensor):
    sensor.fake.now = datetime.datetime(1970, 1, 1, 0, 5, tzinfo=datetime.UTC)
    found = sensor.find()
    assert set(found) == {"clock-never-set"}
    assert "1970" in found["clock-never-set"].evidence


def test_a_clock_that_no_time_server_sets(sensor):
    sensor.fake.clock_is_set = False
    assert set(sensor.find()) == {"clock-not-synchronised"}


def test_a_clock_may_be_set_in_the_first_minutes(sensor):
    sensor.fake.clock_is_set = False
    sensor.fake.uptime = 120
    assert sensor.find() == {}


def test_a_clock_behind_the_last_recording(sensor):
    last = sensor.fake.now + datetime.timedelta(days=2)
    (sensor.settings.run_dir / "recorder.json").write_text(
        json.dumps({"last_recording_on": last.isoformat(), "boot_id": read_boot_id()})
    )
    assert set(sensor.find()) == {"clock-went-back"}


@pytest.mark.parametrize("where", ["program", "celery"])
def test_a_time_zone_that_this_machine_does_not_know(sensor, where):
    if where == "program":
        sensor.change("timezone", to="Europe/Lundon")
    else:
        sensor.settings.celery_file.write_text('{"timezone": "Mars/Olympus"}')
    found = sensor.find()
    assert set(found) == {"timezone-unknown"}
    assert "tzdata" in found["timezone-unknown"].remedy


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 64 MB; its mount is undone."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=1000", "none", disk]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.fixture
def on_small_disk(sensor, small_disk):
    sensor.change("paths", "recordings", to=str(small_disk / "recordings"))
    sensor.change("retention", "min_free_space", to=10)
    assert sensor.find() == {}
    return sensor


def test_a_disk_that_is_full(on_small_disk, small_disk):
    (small_disk / "ballast").write_bytes(bytes(60_000_000))
    found = on_small_disk.find()
    assert set(found) == {"disk-full"}
    assert str(small_disk) in found["disk-full"].evidence
    assert "retention.max_age" in found["disk-full"].remedy


def test_a_disk_that_retention_does_not_keep_free(on_small_disk, small_disk):
    on_small_disk.change("retention", "min_free_space", to=40)
    (small_disk / "ballast").write_bytes(bytes(40_000_000))
    assert set(on_small_disk.find()) == {"disk-low"}


def test_a_disk_that_retention_keeps_near_its_reserve_is_well(
    on_small_disk, small_disk
):
    on_small_disk.change("retention", "min_free_space", to=40)
    (small_disk / "ballast").write_bytes(bytes(28_000_000))
    assert on_small_disk.find() == {}


def test_a_disk_without_inodes(on_small_disk, small_disk):
    for number in range(990):
        (small_disk / str(number)).touch()
    found = on_small_disk.find()
    assert set(found) == {"inodes-gone"}
    assert "du --inodes" in found["inodes-gone"].remedy


def test_a_disk_that_is_read_only(on_small_disk, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    found = on_small_disk.find()
    assert set(found) == {"disk-read-only"}
    assert "remount,rw" in found["disk-read-only"].remedy


def test_more_space_to_be_kept_free_than_there_is(on_small_disk):
    on_small_disk.change("retention", "min_free_space", to=500)
    assert set(on_small_disk.find()) == {"retention-impossible"}


def test_files_whose_writing_was_cut_short_long_ago(sensor):
    recordings = sensor.path("paths", "recordings")
    (recordings / "2026").mkdir(parents=True)
    for name in ("2026/.1234-a.flac.tmp", "b.wav.part"):
        (recordings / name).touch()
    # What is being written now is nothing to speak of.
    assert sensor.find() == {}
    before = time.time() - 7200
    for name in ("2026/.1234-a.flac.tmp", "b.wav.part"):
        os.utime(recordings / name, (before, before))
    found = sensor.find()
    assert set(found) == {"files-left"}
    assert found["files-left"].evidence.startswith("2:")


def test_logs_that_have_outgrown_their_bounds(sensor):
    (sensor.settings.log_dir / "worker-default.log").write_bytes(bytes(110_000_000))
    assert set(sensor.find()) == {"logs-large"}


def test_a_journal_that_takes_most_of_the_disk(sensor, small_disk):
    (sensor.fake.root / "var/log").mkdir(parents=True)
    (sensor.fake.root / "var/log/journal").symlink_to(small_disk)
    (small_disk / "system.journal").write_bytes(bytes(40_000_000))
    found = sensor.find()
    assert set(found) == {"journal-large"}
    assert "--vacuum-size" in found["journal-large"].remedy


def test_a_disk_that_cannot_be_read(open_home, codes_for_user):
    # As root everything can be; what is closed stands for what is broken.
    closed = open_home.settings.home.parent / "closed"
    closed.mkdir(mode=0o700)
    for key in ("recordings", "db_metadata", "tmp_audio"):
        open_home.change("paths", key, to=str(closed / key))
    found = codes_for_user(12345, probe_disks, open_home.settings)
    assert set(found) - {"disk-errors"} == {"disk-fails"}
