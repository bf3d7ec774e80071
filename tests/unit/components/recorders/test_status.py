from __future__ import annotations

import errno
import json
import logging
import pathlib
from types import SimpleNamespace

import pytest

from acoupi.audio.capture import Capture
from acoupi.audio.scene import SignalSource
from acoupi.audio.take import Take
from acoupi.components.recorders import status
from acoupi.components.recorders.quality import LevelMeter
from acoupi.components.recorders.status import StatusReport, write_status


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(status.time, "monotonic", lambda: now.seconds)
    return now


@pytest.fixture
def writer():
    take = Take(SignalSource(8000).open())
    return SimpleNamespace(take=take, meter=LevelMeter(take.format), recording=True)


def test_a_problem_that_lasts_is_logged_once_an_hour(clock, writer, caplog):
    report = StatusReport(Capture(SignalSource(8000)), None)
    with caplog.at_level(logging.WARNING):
        for turn in range(721):  # two hours
            clock.seconds += 10
            offset = 3000 + turn % 7 * 500
            block = b"".join(
                (offset + n).to_bytes(2, "little") for n in range(0, 256 * 9, 9)
            )
            writer.meter.add(memoryview(block))
            report.tell(writer, {})
            assert len(report.problems) == 1
    assert [r.getMessage().split(":")[1] for r in caplog.records] == [" offset"] * 3


def test_the_last_microphone_is_told_when_it_is_gone(clock, writer, tmp_path):
    path = tmp_path / "run" / "recorder.json"
    report = StatusReport(Capture(SignalSource(8000)), path)
    report.tell(writer, {"recordings": 3})
    told = json.loads(path.read_text())
    assert (told["device"], told["capturing"], told["recordings"]) == (
        "signal",
        True,
        3,
    )
    report.tell(None, {"recordings": 4}, now=True)
    told = json.loads(path.read_text())
    assert (told["device"], told["capturing"], told["recordings"]) == (
        "signal",
        False,
        4,
    )


def test_it_is_written_every_two_seconds(clock, writer, tmp_path):
    path = tmp_path / "recorder.json"
    report = StatusReport(Capture(SignalSource(8000)), path)
    times = []
    for _ in range(100):
        clock.seconds += 0.1
        report.tell(writer, {})
        times.append(json.loads(path.read_text())["updated_monotonic"])
    assert 5 <= len(set(times)) <= 6


def test_a_status_that_cannot_be_written_does_not_stop_recording(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    write_status(tmp_path / "file" / "recorder.json", {})
    assert "cannot be written" in caplog.text


def test_a_disk_without_room_for_another_file_still_takes_the_status(
    tmp_path, monkeypatch
):
    path = tmp_path / "recorder.json"
    write_status(path, {"recordings": 1000, "problems": ["a long text"]})

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", refuse)
    assert write_status(path, {"recordings": 1})
    assert json.loads(path.read_text()) == {"recordings": 1}
    assert write_status(path, {"recordings": 1000, "problems": []})
    assert json.loads(path.read_text()) == {"recordings": 1000, "problems": []}
    assert list(tmp_path.iterdir()) == [path]


def test_the_status_is_written_where_it_is(tmp_path):
    path = tmp_path / "run" / "recorder.json"
    write_status(path, {"recordings": 1})
    before = path.stat().st_ino
    write_status(path, {"recordings": 2})
    assert path.stat().st_ino == before
    assert json.loads(path.read_text()) == {"recordings": 2}
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_refuses_the_status_fills_no_log(clock, writer, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    report = StatusReport(Capture(SignalSource(8000)), tmp_path / "file" / "it.json")
    for _ in range(600):  # a minute
        clock.seconds += 0.1
        report.tell(writer, {})
    assert 1 <= len(caplog.records) <= 4
