"""What acoupi adds to the start and the end of a Celery worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from celery import bootsteps, signals
from celery.utils.log import get_logger

from acoupi.system.broker_watchdog import BrokerWatchdog
from acoupi.system.deliveries import forget_lost_deliveries
from acoupi.system.intake import drop_what_is_not_understood
from acoupi.system.lifecycle import ProgramLife
from acoupi.system.notify import ServiceNotifier
from acoupi.system.spare_memory import PERIOD, give_back
from acoupi.system.vigilance import Condition, Guard

if TYPE_CHECKING:
    from celery import Celery

    from acoupi.programs import AcoupiProgram
    from acoupi.system.settings import Settings

__all__ = ["ConsumerStep", "ProgramStep", "install"]

logger = get_logger(__name__)

TASK_LIMIT = 1800.0
"""Seconds after which a task counts as hung, unless ``task_time_limit`` is set."""

MOST_REMEMBERED = 10
"""Tasks done that a worker knows by their ids. Celery remembers a thousand, to skip
those that are handed out twice; acoupi's may run twice, and the memory for a thousand
fills for hours."""


def install(app: Celery, program: AcoupiProgram[Any], settings: Settings) -> None:
    """Let workers of the app start, watch and stop the program's own activities."""
    app.acoupi_program = program  # type: ignore[attr-defined] # ours, read below
    app.acoupi_settings = settings  # type: ignore[attr-defined] # ours, read below
    app.steps["worker"].add(ProgramStep)
    app.steps["consumer"].add(ConsumerStep)


class ProgramStep(bootsteps.StartStopStep):
    """Runs the program's hooks around a worker's life, and guards its health.

    It belongs to the worker, not to its consumer, so that what the program does
    beside its tasks (recording) begins whether or not the broker is there.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._notifier = ServiceNotifier()
        self._guard: Guard | None = None
        self._broker_watchdog: BrokerWatchdog | None = None
        self._life: ProgramLife | None = None
        parent.acoupi_step = self

    def start(self, parent: Any) -> None:
        """Start the program's own activities and the guard."""
        # Loaded in a worker; the command line does without it.
        from celery.worker import state

        state.successful_requests.maxlen = MOST_REMEMBERED
        queues = list(parent.app.amqp.queues.consume_from)
        life = ProgramLife.of(parent.app, str(parent.hostname), queues)
        program = life.program
        needs_broker = program.needs_broker(queues)
        self.condition = Condition(
            needs_broker=needs_broker,
            task_limit=parent.app.conf.task_time_limit or TASK_LIMIT,
            is_healthy=lambda: program.worker_healthy(queues),
        )
        signals.task_prerun.connect(self._task_began)
        signals.task_postrun.connect(self._task_ended)
        # Sent at the very end of a warm shutdown, after the pool has drained, while
        # a step that starts after the pool is stopped before it.
        signals.worker_shutdown.connect(self._worker_gone)
        self._life = life
        life.begin()
        if not needs_broker:
            self._notifier.ready("working")
        self._guard = Guard(self.condition, self._notifier)
        self._guard.start()
        self._watch_broker(parent)

    def _watch_broker(self, parent: Any) -> None:
        """Look after the sensor's own broker, whatever keeps its process."""
        if parent.app.conf.get("acoupi_own_broker"):
            socket = parent.app.acoupi_settings.broker_socket
            self._broker_watchdog = BrokerWatchdog(socket)
            self._broker_watchdog.start()

    def consumer_ready(self) -> None:
        """Note that the worker takes tasks."""
        self.condition.consumer_turned()
        self._notifier.ready("working")

    def consumer_lost(self) -> None:
        """Note that the worker looks for the broker."""
        self.condition.consumer_disconnected()
        self._notifier.status("looking for the broker")

    def stop(self, parent: Any) -> None:  # noqa: ARG002  # Celery's signature.
        """Say that the worker stops; tasks may still run."""
        self._notifier.stopping()
        if self._guard is not None:
            self._guard.stop()
        if self._broker_watchdog is not None:
            self._broker_watchdog.stop()

    def terminate(self, parent: Any) -> None:
        """Stop at once: a cold shutdown does not wait for tasks."""
        self.stop(parent)
        self._finish()

    def _worker_gone(self, **_kwargs: Any) -> None:
        self._finish()

    def _finish(self) -> None:
        if self._life is None:
            return
        life, self._life = self._life, None
        signals.worker_shutdown.disconnect(self._worker_gone)
        signals.task_prerun.disconnect(self._task_began)
        signals.task_postrun.disconnect(self._task_ended)
        life.end()

    def _task_began(self, task_id: str, task: Any, **_kwargs: Any) -> None:
        self.condition.task_began(task_id, task.name)

    def _task_ended(self, task_id: str, **_kwargs: Any) -> None:
        self.condition.task_ended(task_id)


class ConsumerStep(bootsteps.StartStopStep):
    """Tells the guard that the consumer is connected and its loop turns."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        self._timer_entries: list[Any] = []
        # Before the first connection, for which errors are sorted when it is made.
        drop_what_is_not_understood(parent)

    def start(self, parent: Any) -> None:
        """Note the connection, and every second that the loop turns."""
        step = _program_step(parent)
        forget_lost_deliveries(parent.connection.default_channel)
        step.consumer_ready()
        repeatedly = parent.timer.call_repeatedly
        self._timer_entries = [
            repeatedly(1.0, self._turned, (parent, step.condition)),
            repeatedly(PERIOD, give_back),
        ]

    @staticmethod
    def _turned(parent: Any, condition: Condition) -> None:
        condition.consumer_turned()
        # Of kombu's own transports, as Redis; others count on their servers' side.
        qos: Any = getattr(parent.task_consumer.channel, "qos", None)
        if hasattr(qos, "can_consume"):
            condition.consumer_holds(all_it_may=not qos.can_consume())

    def stop(self, parent: Any) -> None:
        """Note that the connection is gone."""
        for entry in self._timer_entries:
            entry.cancel()
        self._timer_entries = []
        _program_step(parent).consumer_lost()

    def terminate(self, parent: Any) -> None:
        """Note that the connection is gone."""
        self.stop(parent)


def _program_step(consumer: Any) -> ProgramStep:
    return cast("ProgramStep", consumer.controller.acoupi_step)
