"""A worker that does not work is noticed, and one that does is left alone."""

from __future__ import annotations

import logging

import pytest

from acoupi.system.notify import ServiceNotifier
from acoupi.system.vigilance import PATIENCE, Condition, Guard


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def condition(clock, *, needs_broker=True, is_healthy=lambda: True):
    return Condition(
        needs_broker=needs_broker,
        task_limit=100,
        is_healthy=is_healthy,
        clock=clock,
    )


def test_a_turning_consumer_is_well(clock):
    worker = condition(clock)
    for _ in range(100):
        worker.consumer_turned()
        clock.now += 10
        assert worker.illness() is None


def test_a_consumer_that_stops_turning_is_ill(clock):
    worker = condition(clock)
    worker.consumer_turned()
    clock.now += Condition.CONSUMER_SILENCE + 1
    assert worker.illness() == "the consumer has not turned for 21 s"


def test_a_consumer_that_waits_for_a_running_task_is_well(clock):
    worker = condition(clock)
    worker.consumer_turned()
    worker.task_began("1", "x")
    clock.now += 90
    assert worker.illness() is None


def test_a_consumer_that_holds_tasks_of_which_none_runs_is_ill(clock):
    worker = condition(clock)
    for _ in range(int(Condition.IDLE_WITH_TASKS) + 1):
        assert worker.illness() is None
        worker.consumer_turned()
        worker.consumer_holds(all_it_may=True)
        clock.now += 1
    assert worker.illness() == "tasks were taken 61 s ago, and none runs"
    worker.consumer_holds(all_it_may=False)
    assert worker.illness() is None


def test_a_consumer_that_holds_tasks_while_one_runs_is_well(clock):
    worker = condition(clock)
    for second in range(90):
        worker.consumer_turned()
        worker.consumer_holds(all_it_may=True)
        if second == 30:
            worker.task_began("1", "x")
        clock.now += 1
        assert worker.illness() is None


def test_looking_for_the_broker_is_allowed_for_minutes_not_for_ever(clock):
    worker = condition(clock)
    clock.now += Condition.WITHOUT_BROKER - 1
    assert worker.illness() is None
    clock.now += 2
    assert worker.illness() == "no broker for 601 s"
    worker.consumer_turned()
    assert worker.illness() is None
    worker.consumer_disconnected()
    clock.now += 500
    worker.consumer_disconnected()
    assert worker.illness() is None
    clock.now += 101
    assert worker.illness() is not None


def test_a_worker_that_needs_no_broker_is_well_without(clock):
    worker = condition(clock, needs_broker=False)
    clock.now += 10**6
    assert worker.illness() is None


def test_a_task_that_hangs_is_named(clock):
    worker = condition(clock, needs_broker=False)
    worker.task_began("1", "detection_task")
    clock.now += 99
    assert worker.illness() is None
    clock.now += 2
    assert worker.illness() == "task detection_task has been running for 101 s"
    worker.task_ended("1")
    worker.task_ended("unknown")
    assert worker.illness() is None


def test_the_programs_own_opinion_counts(clock, caplog):
    healthy = [True]
    worker = condition(clock, needs_broker=False, is_healthy=lambda: healthy[0])
    assert worker.illness() is None
    healthy[0] = False
    assert worker.illness() == "the program reports no progress"

    def fails():
        raise OSError("no")

    assert condition(clock, needs_broker=False, is_healthy=fails).illness() is not None
    assert "worker_healthy failed" in caplog.text


class Listener(ServiceNotifier):
    def __init__(self):
        super().__init__({})
        self.heard = []

    def alive(self):
        self.heard.append("alive")

    def status(self, text):
        self.heard.append(text)


def test_signs_of_life_are_given_only_while_well(clock, caplog):
    worker = condition(clock, needs_broker=False)
    listener, ended = Listener(), []
    guard = Guard(worker, listener, lambda: ended.append(clock.now), clock)
    with caplog.at_level(logging.WARNING):
        guard.look()
        worker.task_began("1", "x")
        clock.now = 101
        guard.look()
        guard.look()
        clock.now += PATIENCE
        guard.look()
        assert ended == []
        clock.now += 1
        guard.look()
    assert ended == [132]
    assert listener.heard == [
        "alive",
        "not working: task x has been running for 101 s",
    ]
    assert len(caplog.records) == 1
    worker.task_ended("1")
    guard.look()
    assert listener.heard[-2:] == ["working", "alive"]
    clock.now += 1000
    guard.look()
    assert len(ended) == 1


def test_the_guard_ends_when_told(clock):
    guard = Guard(condition(clock), Listener())
    guard.start()
    guard.stop()
    assert not guard._thread.is_alive()
    Guard(condition(clock), Listener()).stop()


def test_only_a_supervised_process_ends_itself(clock, monkeypatch):
    worker = condition(clock, needs_broker=False, is_healthy=lambda: False)
    exits = []
    monkeypatch.setattr("os._exit", exits.append)
    monkeypatch.delenv("ACOUPI_SUPERVISED", raising=False)
    guard = Guard(worker, Listener(), clock=clock)
    guard.look()
    clock.now = PATIENCE + 1
    guard.look()
    assert exits == []
    monkeypatch.setenv("ACOUPI_SUPERVISED", "1")
    guard.look()
    assert exits == [70]
