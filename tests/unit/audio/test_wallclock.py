from __future__ import annotations

import ctypes
import datetime
from types import SimpleNamespace

import pytest

from acoupi.audio import wallclock
from acoupi.audio.wallclock import WallClock, clock_is_synchronised, read_boot_id


def test_small_differences_of_measurement_do_not_move_times():
    readings = iter([2000.0, 2001.0005])
    ticks = iter([10.0, 10.0, 11.0, 11.0])
    clock = WallClock(wall=lambda: next(readings), monotonic=lambda: next(ticks))
    first = clock.at(10.0)
    assert first == datetime.datetime.fromtimestamp(2000, datetime.UTC)
    assert clock.at(11.0) - first == datetime.timedelta(seconds=1)


def test_a_clock_that_is_set_moves_times_at_once():
    readings = iter([2000.0, 9001.0])
    ticks = iter([10.0, 10.0, 11.0, 11.0])
    clock = WallClock(wall=lambda: next(readings), monotonic=lambda: next(ticks))
    clock.at(10.0)
    assert clock.at(11.0) == datetime.datetime.fromtimestamp(9001, datetime.UTC)


def test_the_kernel_tells_its_boot_and_whether_the_clock_is_set():
    assert read_boot_id() == read_boot_id() != ""
    assert clock_is_synchronised() in {True, False}


@pytest.mark.parametrize(
    ("state", "touched", "expected"),
    [
        (0, False, True),
        (5, True, False),
        (-1, False, False),
        (-1, True, True),
    ],
)
def test_a_service_kept_from_the_clock_asks_the_time_daemon(
    state, touched, expected, tmp_path, monkeypatch
):
    library = SimpleNamespace(adjtimex=lambda _: state)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(wallclock, "TIMESYNC_FILE", tmp_path / "synchronized")
    if touched:
        (tmp_path / "synchronized").touch()
    assert clock_is_synchronised() is expected
