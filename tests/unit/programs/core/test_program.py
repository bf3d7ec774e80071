"""A program is a set of tasks that hand their results on."""

from __future__ import annotations

import asyncio
import datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import pytest
from celery import Celery
from celery.schedules import crontab
from pydantic import BaseModel

from acoupi import data
from acoupi.programs import AcoupiProgram, AcoupiWorker, NoUserPrompt, WorkerConfig
from acoupi.programs.core.prompting import is_prompted


class Config(BaseModel):
    value: int = 1


@pytest.fixture
def app():
    app = Celery("test", set_as_current=False)
    app.conf.update(task_always_eager=True, broker_url="memory://")
    return app


def build(app, setup, worker_config=None, config=None):
    class Program(AcoupiProgram[Config]):
        def setup(self, config):
            setup(self)

    Program.worker_config = worker_config
    return Program(program_config=config or Config(), app=app)


def two_queues():
    return WorkerConfig(
        workers=[
            AcoupiWorker(name="a", queues=["one"]),
            AcoupiWorker(name="b", queues=["celery", "two"]),
        ]
    )


def test_a_program_has_its_config_app_logger_and_tasks_when_setup_runs(app):
    seen = []
    config = Config(value=7)

    def setup(program):
        seen.append((program.config, program.app, program.logger.name, program.tasks))

    program = build(app, setup, config=config)
    assert seen == [(config, app, __name__, {})]
    assert program.config is config


def test_a_program_without_setup_cannot_be_made(app):
    class Unfinished(AcoupiProgram[Config]):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Unfinished(program_config=Config(), app=app)


@pytest.mark.parametrize(
    "raised", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()]
)
def test_a_function_that_wants_to_end_the_process_fails_its_task_alone(app, raised):
    def leave():
        raise raised

    program = build(app, lambda program: program.add_task(leave))
    with pytest.raises(RuntimeError, match=f"leave .*{type(raised).__name__}"):
        program.tasks["leave"].run()


def test_what_a_function_raises_is_what_its_task_raises(app):
    def fail():
        raise KeyError("x")

    program = build(app, lambda program: program.add_task(fail))
    with pytest.raises(KeyError):
        program.tasks["fail"].run()


def test_the_schema_is_the_named_one_or_the_one_subscripted():
    class Other(BaseModel):
        pass

    class Subscripted(AcoupiProgram[Config]):
        pass

    class Named(AcoupiProgram[Config]):
        config_schema = Other

    class Child(Subscripted):
        pass

    class Bare(AcoupiProgram):
        pass

    class Wrong(AcoupiProgram):
        config_schema = 3

    assert Subscripted.get_config_schema() is Config
    assert Named.get_config_schema() is Other
    assert Child.get_config_schema() is Config
    with pytest.raises(TypeError, match="config_schema"):
        Bare.get_config_schema()
    with pytest.raises(TypeError, match="must be a pydantic model"):
        Wrong.get_config_schema()


def test_without_worker_config_one_worker_takes_from_the_default_queue(app):
    program = build(app, lambda program: None)
    assert [w.name for w in program.get_worker_config().workers] == ["acoupi"]
    assert program.get_queue_names() == ["celery"]


def test_queue_names_are_those_of_all_workers_each_once(app):
    config = WorkerConfig(
        workers=[
            AcoupiWorker(name="a", queues=["one", "two"]),
            AcoupiWorker(name="b", queues=["two"]),
            AcoupiWorker(name="c"),
        ]
    )
    program = build(app, lambda program: None, config)
    assert program.get_queue_names() == ["one", "two", "celery"]


def test_names_of_workers_are_unique_and_usable_in_file_names():
    with pytest.raises(ValueError, match="more than one worker is named a"):
        WorkerConfig(workers=[AcoupiWorker(name="a"), AcoupiWorker(name="a")])
    for name in ("", "../x", "a b", "-x"):
        with pytest.raises(ValueError, match="is not a name"):
            AcoupiWorker(name=name)
    with pytest.raises(ValueError, match="at least 1 item"):
        WorkerConfig(workers=[])


def test_a_result_goes_to_every_callback(app):
    got = []

    def make():
        return 5

    def double(value):
        got.append(2 * value)

    def square(value):
        got.append(value**2)

    program = build(app, lambda p: p.add_task(make, callbacks=[double, square]))
    program.tasks["make"].delay()
    assert got == [10, 25]
    assert list(program.tasks) == ["make", "double", "square"]


def test_no_result_rings_nobody(app):
    got = []
    program = build(app, lambda p: p.add_task(lambda: None, [got.append], name="none"))
    program.tasks["none"].delay()
    assert got == []


@pytest.mark.parametrize("falsy", [0, "", [], False])
def test_a_falsy_result_is_a_result(app, falsy):
    got = []

    def take(value):
        got.append(value)

    program = build(app, lambda p: p.add_task(lambda: falsy, [take], name="falsy"))
    program.tasks["falsy"].delay()
    assert got == [falsy]


def test_each_item_of_an_iterator_is_handed_on_as_soon_as_it_is_there(app):
    log = []

    def make():
        for number in range(3):
            log.append(f"made {number}")
            yield number

    def take(value):
        log.append(f"took {value}")

    program = build(app, lambda p: p.add_task(make, callbacks=[take]))
    program.tasks["make"].delay()
    assert log == ["made 0", "took 0", "made 1", "took 1", "made 2", "took 2"]


def test_a_list_is_one_result(app):
    got = []

    def take(value):
        got.append(value)

    program = build(app, lambda p: p.add_task(lambda: [1, 2], [take], name="make"))
    program.tasks["make"].delay()
    assert got == [[1, 2]]


def test_calling_a_task_returns_what_the_function_returns(app):
    program = build(app, lambda p: p.add_task(lambda: 8, name="eight"))
    assert program.tasks["eight"]() == 8


def test_two_callbacks_with_the_same_name_both_run(app):
    got = []

    def factory(label):
        def detection_task(value):
            got.append((label, value))

        return detection_task

    def make():
        return 1

    program = build(
        app, lambda p: p.add_task(make, callbacks=[factory("a"), factory("b")])
    )
    program.tasks["make"].delay()
    assert got == [("a", 1), ("b", 1)]
    assert list(program.tasks) == ["make", "detection_task", "detection_task-2"]


def test_a_callback_shared_by_two_tasks_is_registered_once(app):
    got = []

    def take(value):
        got.append(value)

    def one():
        return 1

    def two():
        return 2

    def setup(program):
        program.add_task(one, callbacks=[take])
        program.add_task(two, callbacks=[take])

    program = build(app, setup)
    program.tasks["one"].delay()
    program.tasks["two"].delay()
    assert got == [1, 2]
    assert list(program.tasks) == ["one", "take", "two"]


def test_a_callback_may_be_a_task_of_its_own_before_or_after(app):
    got = []

    def make():
        return 1

    def take(value):
        got.append(value)

    def after(program):
        program.add_task(make, callbacks=[take], callback_queue="two")
        program.add_task(take, queue="one", name="taking")

    program = build(app, after, two_queues())
    assert list(program.tasks) == ["make", "taking"]
    assert program.get_queue("taking") == "one"
    program.tasks["make"].delay()

    def before(program):
        program.add_task(take, queue="one", name="taking")
        program.add_task(make, callbacks=[take])

    program = build(app, before, two_queues())
    assert list(program.tasks) == ["taking", "make"]
    program.tasks["make"].delay()
    assert got == [1, 1]


def test_adding_a_function_again_adds_callbacks_and_changes_its_schedule(app):
    got = []

    def make():
        return 1

    def first(value):
        got.append("first")

    def second(value):
        got.append("second")

    def setup(program):
        program.add_task(make, callbacks=[first], schedule=1)
        program.add_task(make, callbacks=[first, second], schedule=2)

    program = build(app, setup)
    program.tasks["make"].delay()
    assert got == ["first", "second"]
    assert app.conf.beat_schedule == {"make": {"task": "make", "schedule": 2}}


def test_one_function_under_two_names_is_two_tasks(app):
    def work():
        return None

    def setup(program):
        program.add_task(work, name="a", schedule=1)
        program.add_task(work, name="b", schedule=2)

    assert list(build(app, setup).tasks) == ["a", "b"]


def test_a_name_given_twice_is_refused(app):
    def setup(program):
        program.add_task(lambda: None, name="x")
        program.add_task(lambda: None, name="x")

    with pytest.raises(ValueError, match="a task named 'x' already"):
        build(app, setup)


def test_partials_and_callable_objects_have_names(app):
    class Worker:
        def __call__(self):
            return None

    def work(value):
        return None

    def setup(program):
        program.add_task(partial(work, 1))
        program.add_task(Worker())

    assert list(build(app, setup).tasks) == ["work", "Worker"]


@pytest.mark.parametrize(
    "schedule", [1.5, datetime.timedelta(minutes=2), crontab(minute="5")]
)
def test_every_kind_of_schedule_is_passed_on(app, schedule):
    build(app, lambda p: p.add_task(lambda: None, name="x", schedule=schedule))
    assert app.conf.beat_schedule["x"] == {"task": "x", "schedule": schedule}


def test_a_task_without_schedule_runs_only_when_called(app):
    build(app, lambda p: p.add_task(lambda: None, name="x"))
    assert not app.conf.beat_schedule


def test_tasks_and_callbacks_go_to_their_queues(app):
    def setup(program):
        program.add_task(
            lambda: None,
            callbacks=[print],
            queue="one",
            callback_queue="two",
            name="work",
        )

    program = build(app, setup, two_queues())
    assert program.get_queue("work") == "one"
    assert program.get_queue("print") == "two"
    assert app.amqp.router.route({}, "print")["queue"].name == "two"


def test_a_queue_without_a_worker_is_refused(app):
    def setup(program):
        program.add_task(lambda: None, queue="nowhere", name="work")

    with pytest.raises(ValueError, match="no worker takes from it"):
        build(app, setup, two_queues())
    program = build(app, lambda p: p.add_task(lambda: None, name="work"))
    with pytest.raises(ValueError, match="'work' would wait for ever in queue 'x'"):
        program.add_task_to_queue("work", "x")


def test_a_task_without_queue_needs_a_worker_of_the_default_queue(app):
    workers = WorkerConfig(workers=[AcoupiWorker(name="a", queues=["one"])])
    with pytest.raises(ValueError, match="tasks work have no queue"):
        build(app, lambda p: p.add_task(lambda: None, name="work"), workers)


def test_two_programs_do_not_share_tasks_of_one_name():
    got = []
    for label in ("a", "b"):
        app = Celery(label, set_as_current=False)
        app.conf.task_always_eager = True

        def work(label=label):
            got.append(label)

        build(app, lambda p, work=work: p.add_task(work, name="x"))
        app.tasks["x"].delay()
    assert got == ["a", "b"]


def test_a_broker_that_is_down_costs_a_moment_and_no_exception(app, tmp_path):
    app.conf.update(
        task_always_eager=False,
        broker_url=f"redis+socket://{tmp_path}/none.sock",
        broker_transport_options={"max_retries": 1, "interval_start": 0.01},
    )

    def make():
        yield from range(200)

    program = build(app, lambda p: p.add_task(make, callbacks=[print]))
    started = datetime.datetime.now(datetime.UTC)
    program.tasks["make"]()
    assert not program.call("make")
    assert not program.ring_callbacks("make", 1)
    taken = datetime.datetime.now(datetime.UTC) - started
    assert taken < datetime.timedelta(seconds=5)


def empty(app):
    # Queues in memory are the process', not the app's.
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge("celery")


def test_a_queue_that_nobody_empties_is_not_filled_for_ever(app, monkeypatch, caplog):
    monkeypatch.setattr("acoupi.programs.core.doorbell.MOST_WAITING", 120)
    app.conf.update(task_always_eager=False, broker_url="memory://")

    def make():
        yield from range(500)

    program = build(app, lambda p: p.add_task(make, callbacks=[print]))
    empty(app)
    program.tasks["make"]()
    assert program.count_waiting_callbacks("make") == 150
    assert caplog.text.count("150 tasks wait in queue celery") == 1
    empty(app)
    program.tasks["make"]()
    assert program.count_waiting_callbacks("make") == 150
    empty(app)


def test_the_run_directory_comes_from_the_app(app):
    program = build(app, lambda program: None)
    assert program.run_dir is None
    app.conf.acoupi_run_dir = "/somewhere"
    assert program.run_dir == Path("/somewhere")


def test_no_user_prompt_marks_a_field_in_every_spelling():
    class Schema(BaseModel):
        asked: int = 1
        by_class: Annotated[int, NoUserPrompt] = 1
        by_instance: Annotated[int, NoUserPrompt()] = 1
        by_item: NoUserPrompt[int] = 1

    fields = Schema.model_fields
    assert [name for name, field in fields.items() if is_prompted(field)] == ["asked"]
    assert Schema(by_item=3).by_item == 3


def test_hooks_do_nothing_by_default(app):
    program = build(app, lambda program: None)
    program.check(program.config)
    program.on_start(data.Deployment(name="x"))
    program.on_end(data.Deployment(name="x"))
    program.worker_started(["celery"])
    program.worker_stopping(["celery"])
    assert program.worker_healthy(["celery"])
    assert program.needs_broker(["celery"])
