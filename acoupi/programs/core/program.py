"""The base of every program: a configuration and the tasks it makes of it."""

from __future__ import annotations

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, get_args

from pydantic import BaseModel

from acoupi.programs.core.doorbell import Doorbell
from acoupi.programs.core.serialisation import register_data_types
from acoupi.programs.core.workers import (
    DEFAULT_QUEUE,
    DEFAULT_WORKER_CONFIG,
    WorkerConfig,
)

if TYPE_CHECKING:
    import datetime

    from celery import Celery, Task
    from celery.schedules import BaseSchedule

    from acoupi import data

__all__ = ["AcoupiProgram", "C"]

C = TypeVar("C", bound=BaseModel)

TaskFunction = Callable[..., Any]


@dataclass(eq=False)
class _Entry:
    """A function known to a program and the Celery task made of it."""

    function: TaskFunction
    task: Task[Any, Any] = field(init=False)
    callbacks: list[_Entry] = field(default_factory=list)
    only_callback: bool = True


class AcoupiProgram(ABC, Generic[C]):
    """A collection of tasks, made from a configuration, that runs on a Celery app.

    Subclass it, name the configuration schema, and register tasks in `setup`.

    Parameters
    ----------
    program_config : pydantic.BaseModel
        An instance of the program's configuration schema.
    app : celery.Celery
        The app that the tasks are registered with.
    """

    config_schema: type[BaseModel]
    """Schema of the configuration. When it is not set, the class that the base was
    subscripted with."""

    worker_config: ClassVar[WorkerConfig | None] = None
    """The workers; None for one worker on the default queue."""

    config: C
    app: Celery
    logger: logging.Logger
    tasks: dict[str, Task[Any, Any]]
    """The tasks by name."""

    def __init__(self, program_config: C, app: Celery) -> None:
        register_data_types()
        self.config = program_config
        self.app = app
        self.logger = logging.getLogger(type(self).__module__)
        self.tasks = {}
        self._entries: list[_Entry] = []
        self._doorbell = Doorbell(self.logger)
        self.setup(program_config)
        self._check_default_queue()

    # What an author of a program writes.

    @abstractmethod
    def setup(self, config: C) -> None:
        """Register the program's tasks with `add_task`.

        Called by the constructor, in every process of the sensor: open no device and
        load no weights here.
        """

    def check(self, config: C) -> None:
        """Raise an error that names the remedy when the program cannot work."""

    def on_start(self, deployment: data.Deployment) -> None:
        """Take note that a deployment starts."""

    def on_end(self, deployment: data.Deployment) -> None:
        """Take note that a deployment ended."""

    # What the processes of the sensor call.

    def worker_started(self, queues: Sequence[str]) -> None:
        """Begin what a worker of these queues does beside its tasks.

        Called once in the worker's process, before it takes tasks, whether or not the
        broker can be reached.
        """

    def worker_stopping(self, queues: Sequence[str]) -> None:
        """End what `worker_started` began. Called after the tasks have drained."""

    def worker_healthy(self, queues: Sequence[str]) -> bool:  # noqa: ARG002 - hooks
        """Tell whether a worker of these queues makes progress beside its tasks.

        The worker is restarted when it stays unhealthy. Called every few seconds.
        """
        return True

    def needs_broker(self, queues: Sequence[str]) -> bool:  # noqa: ARG002 - hooks
        """Tell whether a worker of these queues is of no use without the broker."""
        return True

    # What describes the program.

    @classmethod
    def get_config_schema(cls) -> type[BaseModel]:
        """Return the schema of the program's configuration."""
        for base in cls.__mro__:
            schema = vars(base).get("config_schema")
            if schema is not None:
                return _checked_schema(cls, schema)
            for parent in vars(base).get("__orig_bases__", ()):
                for argument in get_args(parent):
                    if isinstance(argument, type) and issubclass(argument, BaseModel):
                        return argument
        raise TypeError(
            f"{cls.__qualname__} has no config_schema: set it to a pydantic model"
        )

    @classmethod
    def get_worker_config(cls) -> WorkerConfig:
        """Return the program's workers, one on the default queue if it names none."""
        return cls.worker_config or DEFAULT_WORKER_CONFIG

    @classmethod
    def get_queue_names(cls) -> list[str]:
        """Return the queues that the program's workers take tasks from, each once."""
        workers = cls.get_worker_config().workers
        return list(dict.fromkeys(q for w in workers for q in w.consumed_queues))

    @property
    def run_dir(self) -> Path | None:
        """Directory for the processes' status files; None when there is no home."""
        configured = self.app.conf.get("acoupi_run_dir")
        return Path(configured) if configured else None

    # Tasks.

    def add_task(
        self,
        function: TaskFunction,
        callbacks: Sequence[TaskFunction] | None = None,
        schedule: float | datetime.timedelta | BaseSchedule | None = None,
        queue: str | None = None,
        callback_queue: str | None = None,
        name: str | None = None,
    ) -> None:
        """Register a function as a task.

        Parameters
        ----------
        function : callable
            Takes nothing. What it returns is handed to each callback, unless it is
            None; of an iterator, each item is, as soon as it is there.
        callbacks : sequence of callables, optional
            Tasks that take a result as their one argument. One that is shared by
            several tasks is registered once.
        schedule : float, timedelta or Celery schedule, optional
            Seconds between two runs, or when to run; None: only when called.
        queue : str, optional
            Queue of the task; default: the default queue.
        callback_queue : str, optional
            Queue of the callbacks.
        name : str, optional
            Name of the task; default: the function's name. When another function
            has that name already, a number is added.

        Raises
        ------
        ValueError
            If no worker takes tasks from a queue, or the given name is in use.
        """
        entry = self._register(function, name)
        entry.only_callback = False
        if queue is not None:
            self.add_task_to_queue(entry.task.name, queue)
        for callback in callbacks or ():
            called = self._find(callback) or self._register(callback, None)
            if callback_queue is not None:
                self.add_task_to_queue(called.task.name, callback_queue)
            if called not in entry.callbacks:
                entry.callbacks.append(called)
        if schedule is not None:
            self.app.conf.beat_schedule = {
                **(self.app.conf.beat_schedule or {}),
                entry.task.name: {"task": entry.task.name, "schedule": schedule},
            }

    def add_task_to_queue(self, task_name: str, queue: str) -> None:
        """Send a task to a queue.

        Raises
        ------
        ValueError
            If no worker takes tasks from the queue.
        """
        if queue not in self.get_queue_names():
            raise ValueError(
                f"task {task_name!r} would wait for ever in queue {queue!r}: no worker "
                f"takes from it. Queues: {', '.join(self.get_queue_names())}; declare "
                "it in worker_config"
            )
        self.app.conf.task_routes = {
            **(self.app.conf.task_routes or {}),
            task_name: {"queue": queue},
        }

    def get_queue(self, task_name: str) -> str:
        """Return the queue that a task is sent to."""
        route = (self.app.conf.task_routes or {}).get(task_name, {})
        return str(route.get("queue", DEFAULT_QUEUE))

    def call(self, task_name: str) -> bool:
        """Queue a task that takes nothing; never raises.

        Returns
        -------
        bool
            Whether it was queued.
        """
        return self._doorbell.ring(self.tasks[task_name])

    def ring_callbacks(self, task_name: str, result: object) -> bool:
        """Hand a result to the callbacks of a task, as if the task had returned it.

        Returns
        -------
        bool
            Whether every callback was queued.
        """
        entry = next(e for e in self._entries if e.task.name == task_name)
        return self._hand_on(entry, result)

    def count_waiting_callbacks(self, task_name: str) -> int | None:
        """Return how many tasks wait in the queues of a task's callbacks.

        Returns
        -------
        int or None
            None when the broker cannot tell.
        """
        entry = next(e for e in self._entries if e.task.name == task_name)
        queues = {self.get_queue(callback.task.name) for callback in entry.callbacks}
        return self._doorbell.count_waiting(self.app, sorted(queues))

    def _find(self, function: TaskFunction) -> _Entry | None:
        matches = (e for e in self._entries if e.function == function)
        return next(matches, None)

    def _register(self, function: TaskFunction, name: str | None) -> _Entry:
        known = self._find(function)
        if known is not None and name in {None, known.task.name}:
            return known
        if name is not None and name in self.tasks:
            raise ValueError(
                f"there is a task named {name!r} already: give this one another name"
            )
        wanted = name or self._unused(_name_of(function))
        if known is not None and known.only_callback:
            # Met first as a callback, under the function's own name.
            self._forget(known.task.name)
            known.task = self._make_task(known, wanted)
            return known
        entry = _Entry(function)
        entry.task = self._make_task(entry, wanted)
        self._entries.append(entry)
        return entry

    def _unused(self, name: str) -> str:
        if name not in self.tasks:
            return name
        number = 2
        while f"{name}-{number}" in self.tasks:
            number += 1
        return f"{name}-{number}"

    def _forget(self, name: str) -> None:
        del self.tasks[name]
        self.app.tasks.pop(name, None)
        routes = dict(self.app.conf.task_routes or {})
        routes.pop(name, None)
        self.app.conf.task_routes = routes

    def _check_default_queue(self) -> None:
        if DEFAULT_QUEUE in self.get_queue_names():
            return
        routes = self.app.conf.task_routes or {}
        lost = [name for name in self.tasks if name not in routes]
        if lost:
            raise ValueError(
                f"tasks {', '.join(lost)} have no queue, and no worker takes from the "
                f"default queue {DEFAULT_QUEUE!r}: give them one of "
                f"{', '.join(self.get_queue_names())}"
            )

    def _make_task(self, entry: _Entry, name: str) -> Task[Any, Any]:
        def run(*arguments: Any) -> Any:
            with _ending_no_more_than_the_task(name):
                result = entry.function(*arguments)
                if isinstance(result, Iterator):
                    for item in result:
                        self._hand_on(entry, item)
                    return None
                self._hand_on(entry, result)
                return result

        run.__doc__ = entry.function.__doc__
        # Not shared: Celery would add it to every other app of the process.
        options: dict[str, Any] = {
            "name": name,
            "ignore_result": True,
            "lazy": False,
            "shared": False,
        }
        # Celery would hand back a task of that name made by another program.
        self.app.tasks.pop(name, None)
        task: Task[Any, Any] = self.app.task(run, **options)
        self.tasks[name] = task
        return task

    def _hand_on(self, entry: _Entry, result: object) -> bool:
        if result is None:
            return True
        names = [callback.task.name for callback in entry.callbacks]
        rung = [
            self._doorbell.ring_for(self.tasks[name], self.get_queue(name), result)
            for name in names
        ]
        return all(rung)


@contextlib.contextmanager
def _ending_no_more_than_the_task(name: str) -> Iterator[None]:
    """Let what a function raises fail its task, whatever it raises.

    Celery takes a SystemExit (of ``sys.exit()``) or a CancelledError (of asyncio) for
    its own: the task would neither be done nor have failed, and its worker would wait
    for it, and take no other, for ever.
    """
    from celery.exceptions import WorkerShutdown, WorkerTerminate

    try:
        yield
    except (Exception, KeyboardInterrupt, WorkerShutdown, WorkerTerminate):
        raise
    except BaseException as error:
        said = ": ".join(part for part in (type(error).__name__, str(error)) if part)
        raise RuntimeError(f"{name} wanted to end the process ({said})") from error


def _name_of(function: TaskFunction) -> str:
    wrapped = getattr(function, "func", function)
    return getattr(wrapped, "__name__", None) or type(wrapped).__name__


def _checked_schema(program: type, schema: object) -> type[BaseModel]:
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return schema
    raise TypeError(
        f"{program.__qualname__}.config_schema is {schema!r}: it must be a pydantic "
        "model"
    )
