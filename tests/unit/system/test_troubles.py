"""What processes log as errors reaches who asks how the sensor is."""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys

import pytest

from acoupi.system import troubles
from acoupi.system.troubles import TroubleLog, read_troubles


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def logger(tmp_path, clock):
    logger = logging.getLogger("tests.troubles")
    handler = TroubleLog(tmp_path / "trouble-worker-x.json", "worker-x", clock)
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_an_error_is_told_with_what_was_raised(tmp_path, logger, clock):
    logger.error("%s failed", "model", exc_info=RuntimeError("no weights"))
    clock.now += 5
    (trouble,) = read_troubles(tmp_path, clock)
    assert trouble["role"] == "worker-x"
    assert trouble["text"] == "model failed: RuntimeError: no weights"
    assert trouble["count"] == 1
    assert trouble["age"] == 5


def test_warnings_and_the_search_for_the_broker_are_no_trouble(tmp_path, logger, clock):
    logger.warning("careful")
    handler = logger.handlers[0]
    name = "celery.worker.consumer.connection"
    handler.handle(logging.LogRecord(name, 40, "", 1, "no broker", (), None))
    assert read_troubles(tmp_path, clock) == []


def test_what_comes_again_and_again_is_counted_and_seldom_written(
    tmp_path, logger, clock, monkeypatch
):
    written = []

    def note(log):
        written.append(log)

    monkeypatch.setattr(TroubleLog, "_write", note)
    for number in range(100):
        clock.now += 1
        logger.error("recording %d failed", number)
    assert len(written) == 100 / troubles.PAUSE


def test_only_the_latest_kinds_are_remembered(tmp_path, logger, clock):
    for text in "abcdefghij":
        clock.now += 1
        logger.error(text)
    found = [it["text"] for it in read_troubles(tmp_path, clock)]
    assert found == ["j", "i", "h", "g", "f"]


def test_a_trouble_that_does_not_come_again_is_told_no_more(tmp_path, logger, clock):
    logger.error("once")
    clock.now += troubles.RECENT + 1
    assert read_troubles(tmp_path, clock) == []


def test_troubles_of_an_earlier_boot_are_not_told(tmp_path, logger, clock, monkeypatch):
    logger.error("before")
    monkeypatch.setattr(troubles, "read_boot_id", lambda: "another")
    assert read_troubles(tmp_path, clock) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"boot_id": 1}'])
def test_a_file_that_is_no_such_file_is_passed_over(tmp_path, clock, text):
    (tmp_path / "trouble-beat.json").write_text(text)
    assert read_troubles(tmp_path, clock) == []


def test_a_message_that_does_not_fit_its_arguments_is_told_as_it_is(tmp_path, clock):
    handler = TroubleLog(tmp_path / "trouble-beat.json", "beat", clock)
    handler.handle(logging.LogRecord("x", 40, "", 1, "%d of %d", ("a",), None))
    assert read_troubles(tmp_path, clock)[0]["text"] == "%d of %d"


def test_long_texts_and_several_lines_are_cut_to_one(tmp_path, logger, clock):
    logger.error("a\nb %s", "c" * 1000)
    (trouble,) = read_troubles(tmp_path, clock)
    assert len(trouble["text"]) == troubles.LONGEST_TEXT
    assert trouble["text"].startswith("a b c")


def test_that_no_file_can_be_opened_is_told(tmp_path, logger, clock):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            (tmp_path / "x").write_text("")
        logger.error("failed", exc_info=caught.value)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))
    assert "Too many open files" in read_troubles(tmp_path, clock)[0]["text"]


def test_a_file_that_is_being_written_is_read_again(tmp_path, clock, monkeypatch):
    path = tmp_path / "trouble-beat.json"
    TroubleLog(path, "beat", clock).note("found")
    whole = path.read_text()
    path.write_text(whole[:20])
    monkeypatch.setattr(troubles.time, "sleep", lambda _: path.write_text(whole))
    assert read_troubles(tmp_path, clock)[0]["text"] == "found"


def test_a_full_disk_does_not_stop_who_logs(tmp_path, clock):
    handler = TroubleLog(tmp_path / "gone" / "trouble-beat.json", "beat", clock)
    handler.note("still going")
    assert read_troubles(tmp_path, clock) == []


def test_the_file_holds_one_document(tmp_path, logger):
    logger.error("x")
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text())["role"] == "worker-x"


def test_a_trouble_at_the_very_end_of_a_process_is_told_and_harms_no_file(tmp_path):
    code = f"""
import atexit, os, pathlib
place = pathlib.Path({str(tmp_path)!r})

def at_the_end():
    # It would get the number of a file that was closed before.
    (place / "other").write_text("of somebody else")
    held = os.open(place / "other", os.O_RDWR)
    log.note("last words")

atexit.register(at_the_end)
from acoupi.system.troubles import TroubleLog
log = TroubleLog.of_role(place, "x")
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert [trouble["text"] for trouble in read_troubles(tmp_path)] == ["last words"]
    assert (tmp_path / "other").read_text() == "of somebody else"


def test_a_password_in_an_address_is_not_told(tmp_path, logger, clock):
    logger.error("no answer from %s", "https://u:hunter2@h.example.org/x?token=hunter3")
    (trouble,) = read_troubles(tmp_path, clock)
    assert "h.example.org" in trouble["text"]
    assert "hunter" not in trouble["text"]
