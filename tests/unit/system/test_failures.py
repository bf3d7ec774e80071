"""Tasks that fail over and over take a line of the log now and then."""

from __future__ import annotations

import json
import logging

import pytest

from acoupi.components.stores.errors import DatabaseUnavailable
from acoupi.system.failures import AGAIN, FailureFilter
from acoupi.system.troubles import TroubleLog

FORMAT = "Task %(name)s[%(id)s] %(description)s: %(exc)s"


@pytest.fixture
def now():
    return [1000.0]


@pytest.fixture
def log(now, caplog):
    """Log a failure as Celery does, and return what was written of it."""
    logger = logging.getLogger("tests.failures")
    quiet = FailureFilter(lambda: now[0])
    logger.addFilter(quiet)

    def fail(error, task="file_management_task"):
        caplog.clear()
        try:
            raise error
        except type(error):
            context = {"name": task, "id": "1", "description": "raised", "exc": "?"}
            logger.exception(FORMAT, context)
        return caplog.text

    yield fail
    logger.removeFilter(quiet)


FULL = DatabaseUnavailable("acoupi.db cannot be used: 100 % of the disk is full")


def test_what_is_told_in_words_takes_one_line(log):
    said = log(FULL)
    assert f"file_management_task failed: {FULL}" in said
    assert said.count("\n") == 1


def test_a_mistake_in_a_program_comes_with_its_stack(log):
    said = log(ZeroDivisionError("no samples"))
    assert "file_management_task failed: ZeroDivisionError: no samples" in said
    assert "Traceback" in said
    assert __file__ in said


def test_the_same_is_said_once_a_minute_and_how_often_it_was(log, now):
    assert log(FULL)
    for _ in range(5):
        now[0] += AGAIN / 6
        assert not log(FULL)
    now[0] += AGAIN / 6
    assert "(and 5 times before)" in log(FULL)
    now[0] += AGAIN
    assert "times before" not in log(FULL)


def test_the_status_knows_it_as_one_trouble(log, now, tmp_path):
    troubles = TroubleLog(tmp_path / "trouble-worker.json", "worker", lambda: now[0])
    logger = logging.getLogger("tests.failures")
    logger.addHandler(troubles)
    for _ in range(10):
        log(FULL)
        now[0] += AGAIN / 2
    logger.removeHandler(troubles)
    ((trouble, *others), *_) = [
        json.loads((tmp_path / "trouble-worker.json").read_text())["troubles"]
    ]
    assert not others
    assert trouble["text"].startswith(f"file_management_task failed: {FULL}")


def test_what_changes_is_said_at_once(log):
    assert log(FULL)
    assert log(FULL, task="send_messages_task")
    assert log(DatabaseUnavailable("the disk is read-only"))
    assert not log(FULL)


def test_failures_that_differ_each_time_do_not_pile_up():
    kept = FailureFilter(lambda: 0.0)
    for number in range(10_000):
        error = ValueError(str(number))
        record = logging.LogRecord(
            *("celery.app.trace", logging.ERROR, "", 0, FORMAT),
            ({"name": "task"},),
            (type(error), error, None),
        )
        assert kept.filter(record)
    assert len(kept._logged) <= 50


def test_other_records_are_left_as_they_are(caplog):
    logger = logging.getLogger("tests.failures")
    quiet = FailureFilter()
    logger.addFilter(quiet)
    for _ in range(3):
        context = {"name": "a", "id": "1", "description": "ok", "exc": "-"}
        logger.warning(FORMAT, context)
    logger.removeFilter(quiet)
    assert caplog.text.count("Task a[1] ok: -") == 3
