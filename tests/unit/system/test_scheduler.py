"""No step of the clock stops the schedule, and stale ticks do not pile up."""

from __future__ import annotations

import datetime
import logging
import time

import pytest
from celery import Celery
from celery.beat import ScheduleEntry
from celery.schedules import crontab, schedule

from acoupi.system.scheduler import LONGEST_SLEEP, MonotonicScheduler, Timetable

NOON = datetime.datetime(2026, 6, 1, 12, 0, tzinfo=datetime.UTC)


class Clock:
    """Monotonic and wall clock that tests set."""

    def __init__(self):
        self.monotonic = 1000.0
        self.wall = NOON.timestamp()

    def pass_time(self, seconds):
        self.monotonic += seconds
        self.wall += seconds

    def set_wall(self, seconds):
        self.wall += seconds


@pytest.fixture
def app():
    app = Celery("test", set_as_current=False)
    app.conf.update(broker_url="memory://", timezone="UTC")
    return app


@pytest.fixture
def clock():
    return Clock()


def table(app, clock, **schedules):
    def now():
        return datetime.datetime.fromtimestamp(clock.wall, datetime.UTC)

    entries = {}
    for name, when in schedules.items():
        if isinstance(when, crontab):
            when.nowfun = now
            when.app = app
        entry = ScheduleEntry(name=name, task=name, schedule=when, app=app)
        entries[name] = entry
    return Timetable(entries, lambda: clock.monotonic, lambda: clock.wall)


def names(timetable):
    return [entry.name for entry in timetable.take_due()]


def test_an_interval_is_due_each_time_it_has_passed(app, clock):
    timetable = table(app, clock, a=10.0)
    assert names(timetable) == []
    for _ in range(3):
        clock.pass_time(9.9)
        assert names(timetable) == []
        clock.pass_time(0.1)
        assert names(timetable) == ["a"]
        assert names(timetable) == []


def test_intervals_do_not_drift_when_ticks_are_late(app, clock):
    timetable = table(app, clock, a=10.0)
    clock.pass_time(13)
    assert names(timetable) == ["a"]
    clock.pass_time(7)
    assert names(timetable) == ["a"]


def test_missed_runs_are_made_up_for_by_one(app, clock):
    timetable = table(app, clock, a=10.0)
    clock.pass_time(1000)
    assert names(timetable) == ["a"]
    assert names(timetable) == []
    clock.pass_time(10)
    assert names(timetable) == ["a"]


@pytest.mark.parametrize("step", [-86400, -3600, 3600, 86400 * 365])
def test_setting_the_clock_leaves_intervals_alone(app, clock, step):
    timetable = table(app, clock, a=10.0, b=datetime.timedelta(seconds=5))
    clock.pass_time(4)
    clock.set_wall(step)
    assert names(timetable) == []
    clock.pass_time(1)
    assert names(timetable) == ["b"]
    clock.pass_time(5)
    assert names(timetable) == ["a", "b"]


def test_a_crontab_fires_at_its_time_of_day(app, clock):
    timetable = table(app, clock, a=crontab(hour="12", minute="30"))
    clock.pass_time(1799)
    assert names(timetable) == []
    clock.pass_time(1)
    assert names(timetable) == ["a"]
    clock.pass_time(86399)
    assert names(timetable) == []
    clock.pass_time(1.5)
    assert names(timetable) == ["a"]


def test_a_crontab_follows_a_clock_that_is_set_back(app, clock):
    timetable = table(app, clock, a=crontab(hour="12", minute="30"))
    clock.set_wall(-86400)
    clock.pass_time(1)
    assert names(timetable) == []
    clock.pass_time(1800)
    assert names(timetable) == ["a"]


def test_a_crontab_follows_a_clock_that_is_set_forward(app, clock):
    timetable = table(app, clock, a=crontab(hour="18", minute="0"))
    clock.set_wall(6 * 3600 - 60)
    clock.pass_time(1)
    assert names(timetable) == []
    clock.pass_time(60)
    assert names(timetable) == ["a"]


def test_the_wait_is_until_the_next_run_and_bounded(app, clock):
    timetable = table(app, clock, a=2.0, b=3600.0)
    assert timetable.seconds_until_next() == 2.0
    clock.pass_time(1.5)
    assert timetable.seconds_until_next() == pytest.approx(0.5)
    clock.pass_time(10)
    assert timetable.seconds_until_next() == 0
    assert table(app, clock, b=3600.0).seconds_until_next() == LONGEST_SLEEP
    assert table(app, clock).seconds_until_next() == LONGEST_SLEEP


def test_a_schedule_of_an_authors_own_is_asked_like_a_calendar(app, clock):
    class Odd(schedule):
        def is_due(self, last_run_at):
            raise AssertionError("not asked")

        def remaining_estimate(self, last_run_at):
            return datetime.timedelta(seconds=7)

    timetable = table(app, clock, a=Odd(1.0))
    clock.pass_time(6.5)
    assert names(timetable) == []
    clock.pass_time(0.5)
    assert names(timetable) == ["a"]


def scheduler_of(app, period=0.01):
    @app.task(name="work", shared=False)
    def work():
        pass

    app.conf.beat_schedule = {"work": {"task": "work", "schedule": period}}
    return MonotonicScheduler(app=app)


def waiting(app):
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        return channel.queue_declare("celery", passive=True).message_count


def tick_until(scheduler, condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "never"
        time.sleep(min(scheduler.tick(), 0.01))


def test_ticks_stop_while_too_many_tasks_wait(app, caplog, monkeypatch):
    monkeypatch.setattr("acoupi.system.scheduler.WAITING_TICKS", 5)
    scheduler = scheduler_of(app, 0.001)
    with caplog.at_level(logging.WARNING):
        tick_until(scheduler, lambda: bool(caplog.records))
        for _ in range(50):
            scheduler.tick()
    assert waiting(app) == 6
    (record,) = caplog.records
    assert record.getMessage() == (
        "6 tasks wait in queue celery: no more ticks are added to it until its worker "
        "catches up"
    )
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge("celery")
    tick_until(scheduler, lambda: waiting(app) > 0)


def test_a_broker_that_is_down_neither_ends_nor_stops_the_scheduler(tmp_path, caplog):
    app = Celery("test", set_as_current=False)
    app.conf.update(broker_url=f"redis+socket://{tmp_path}/none.sock")
    scheduler = scheduler_of(app)
    with caplog.at_level(logging.WARNING):
        tick_until(scheduler, lambda: len(caplog.records) >= 2)
    assert "Could not queue work" in caplog.records[0].getMessage()
    assert scheduler.tick() <= LONGEST_SLEEP
