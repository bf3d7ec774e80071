from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from acoupi.audio.wallclock import read_boot_id
from acoupi.tasks import generate_alarm_task


@pytest.fixture
def alarm(tmp_path):
    file = tmp_path / "recorder.json"
    clock = SimpleNamespace(now=1000.0)
    sent: list[float] = []

    def look(*problems, age=0.0):
        clock.now += 60
        status = {
            "problems": list(problems),
            "boot_id": read_boot_id(),
            "updated_monotonic": time.monotonic() - age,
        }
        file.write_text(json.dumps(status))
        task()
        return len(sent)

    task = generate_alarm_task(
        lambda: sent.append(clock.now), file, clock=lambda: clock.now
    )
    return SimpleNamespace(look=look, task=task, sent=sent)


def test_nothing_is_sent_while_all_is_well(alarm):
    alarm.task()  # before the recorder has said anything
    assert [alarm.look() for _ in range(100)] == [0] * 100


def test_a_problem_is_sent_at_once_and_only_once_and_so_is_its_end(alarm):
    assert alarm.look() == 0
    told = [alarm.look(f"clipping: {n} % of the samples") for n in range(20)]
    assert told == [1] * 20
    assert alarm.look() == 2


def test_a_problem_that_comes_and_goes_is_sent_every_five_minutes_at_most(alarm):
    for turn in range(120):  # two hours
        alarm.look(*["silence: no sound"] * (turn % 2))
    assert len(alarm.sent) <= 25
    gaps = [b - a for a, b in zip(alarm.sent, alarm.sent[1:], strict=False)]
    assert min(gaps) >= 300


def test_a_recorder_that_says_nothing_any_more_is_a_problem(alarm):
    assert alarm.look() == 0
    assert alarm.look(age=100) == 1


def test_a_heartbeat_that_fails_is_tried_again(tmp_path):
    file = tmp_path / "recorder.json"
    file.write_text(json.dumps({"problems": [], "boot_id": "another"}))
    attempts = []

    def fail():
        attempts.append(1)
        raise OSError("the disk is full")

    task = generate_alarm_task(fail, file)
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            task()
    assert len(attempts) == 2
