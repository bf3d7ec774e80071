from __future__ import annotations

import datetime

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
