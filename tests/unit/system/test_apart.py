"""What runs apart tells what came of it, and leaves nothing running."""

from __future__ import annotations

import os
import sys
import time

import psutil
import pytest

from acoupi.errors import AcoupiError, ConfigurationError
from acoupi.system import apart
from acoupi.system.apart import run_apart


def test_the_result_arrives_however_long_it_is():
    said = "x" * 1_000_000
    assert run_apart(lambda: [said, os.getpid()], "this")[0] == said
    assert run_apart(os.getpid, "this") != os.getpid()


def test_errors_for_people_arrive_as_they_are():
    def refuse():
        raise ConfigurationError("choose another name")

    with pytest.raises(ConfigurationError, match=r"^choose another name$"):
        run_apart(refuse, "this")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda: os._exit(3), r"^this ended its process \(code 3\)$"),
        (lambda: sys.exit(4), r"^this ended its process \(code 4\)$"),
        (lambda: os.kill(os.getpid(), 9), r"^this crashed \(SIGKILL\)$"),
    ],
)
def test_a_process_that_fails_is_an_error(end, said):
    with pytest.raises(AcoupiError, match=said):
        run_apart(end, "this")


def test_what_lasts_too_long_is_ended():
    before = psutil.Process().children()
    with pytest.raises(AcoupiError, match=r"^this did not end within 0.2 s$"):
        run_apart(lambda: time.sleep(600), "this", patience=0.2)
    assert psutil.Process().children() == before


def test_what_stops_before_it_leads_a_group_is_ended(monkeypatch):
    def fork(body, **_):
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
            os._exit(body() or 0)
        return pid

    monkeypatch.setattr(apart, "fork", fork)
    with pytest.raises(AcoupiError, match=r"^this did not end within 0.2 s$"):
        run_apart(os.getpid, "this", patience=0.2)


def test_half_an_answer_is_none(monkeypatch):
    monkeypatch.setattr(apart, "_listen", lambda *_: b'["resu')
    with pytest.raises(AcoupiError, match="this ended its process"):
        run_apart(os.getpid, "this")


def test_what_it_started_is_ended_with_it():
    held, holding = os.pipe()

    def start():
        os.close(held)
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)

    run_apart(start, "this")
    os.close(holding)
    # The pipe ends when nobody holds its other end any more.
    assert os.read(held, 1) == b""
    os.close(held)


def test_it_does_not_read_what_is_typed_nor_print_between_the_output(capfd):
    def talk():
        print("printed")
        os.write(1, b"written")
        return os.read(0, 1).decode()

    assert run_apart(talk, "this") == ""
    out, err = capfd.readouterr()
    assert out == ""
    assert {"printed", "written"} <= set(err.replace("written", "written\n").split())
