from __future__ import annotations

import ctypes
import datetime
import os
import time
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
    monkeypatch.setattr(wallclock, "_timedated", SimpleNamespace(finds_it_set=bool))
    if touched:
        (tmp_path / "synchronized").touch()
    assert clock_is_synchronised() is expected


@pytest.fixture
def busctl(tmp_path, monkeypatch):
    """A busctl that answers from a file and notes each call; asked when a service is
    kept from the clock."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "busctl"
    answer, calls = tmp_path / "answer", tmp_path / "calls"
    calls.touch()
    program.write_text(f'#!/bin/sh\necho "$*" >>{calls}\ncat {answer}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    library = SimpleNamespace(adjtimex=lambda _: -1)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.setattr(wallclock, "TIMESYNC_FILE", tmp_path / "synchronized")
    monkeypatch.setattr(wallclock, "_timedated", wallclock._Timedated())
    return SimpleNamespace(
        program=program, answer=answer, calls=lambda: len(calls.read_text().split("\n"))
    )


def test_another_time_daemon_is_asked_about_through_timedated(busctl, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(wallclock.time, "monotonic", lambda: now[0])
    busctl.answer.write_text("b false\n")
    assert clock_is_synchronised() is False
    busctl.answer.write_text("b true\n")
    assert clock_is_synchronised() is False, "asked once a minute at most"
    now[0] += 60
    assert clock_is_synchronised() is True
    calls = busctl.calls()
    now[0] += 599
    assert clock_is_synchronised() is True
    assert busctl.calls() == calls


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/nowhere\n"])
def test_without_timedated_the_clock_counts_as_not_set(busctl, text):
    busctl.program.write_text(text)
    assert clock_is_synchronised() is False


def test_a_timedated_that_does_not_answer_is_not_waited_for(busctl, monkeypatch):
    busctl.program.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(wallclock._Timedated, "PATIENCE", 0.2)
    began = time.monotonic()
    assert clock_is_synchronised() is False
    assert time.monotonic() - began < 30
