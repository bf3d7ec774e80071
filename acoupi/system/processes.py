"""How the roles of a sensor in the foreground become processes.

`forked_role` makes one of the compact layout: a fork of the launcher, which has
imported what the roles share. `spawned_role` makes one of the separate layout: an
interpreter of its own. What a role does is in `acoupi.system.roles`.
"""

from __future__ import annotations

import gc
import importlib
import os
from typing import TYPE_CHECKING, Any

from acoupi.system.forks import fork
from acoupi.system.launcher import Role
from acoupi.system.tether import tethered_command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from acoupi.programs import AcoupiWorker
    from acoupi.system.settings import Settings

__all__ = [
    "be_beat",
    "be_closing",
    "be_everything",
    "be_worker",
    "forked_role",
    "preload",
    "spawned_role",
]

_SHARED = (
    "billiard.pool",
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.app.routes",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.concurrency.thread",
    "celery.events.dispatcher",
    "celery.events.receiver",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer",
    "celery.worker.strategy",
    "kombu.mixins",
    "kombu.transport.redis",
    "acoupi.components.recorders.microphone",
    "acoupi.components.saving.managers",
    "acoupi.components.saving.retention",
    "acoupi.components.stores.sqlite",
    "acoupi.system.apps",
    "acoupi.system.bootsteps",
    "acoupi.system.roles",
    "acoupi.system.scheduler",
    "acoupi.tasks.keep",
    "acoupi.tasks.reconcile",
    "acoupi.tasks.record",
)
"""What every role imports sooner or later. Neither numpy nor a sound library: the
recorder does without the first, and the second must not cross a fork."""


def preload() -> None:
    """Import what the roles share, and keep it shared after a fork.

    Freezing takes the objects out of the collector's sight: its bookkeeping would
    otherwise write to, and so copy, their pages in every role.
    """
    for name in _SHARED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def be_worker(settings: Settings, worker: AcoupiWorker) -> int:
    """Be a worker until told to stop; return the exit code."""
    from acoupi.system.apps import get_celery_app
    from acoupi.system.roles import run_worker

    return run_worker(get_celery_app(settings), worker)


def be_beat(settings: Settings) -> int:
    """Be the scheduler until told to stop; return the exit code."""
    from acoupi.system.apps import get_celery_app
    from acoupi.system.roles import run_beat

    return run_beat(get_celery_app(settings))


def be_closing(settings: Settings) -> int:
    """Decide on the recordings that can be decided on; return the exit code.

    The sensor does that every half a minute, and would otherwise leave the last ones
    to its next start.
    """
    from acoupi.system.apps import get_celery_app

    app: Any = get_celery_app(settings)
    task = app.acoupi_program.tasks.get("file_management_task")
    if task is not None:
        task.run()
    return 0


def be_everything(settings: Settings, workers: Sequence[AcoupiWorker]) -> int:
    """Be all workers and beat, with a queue in memory: the last resort."""
    from celery.beat import EmbeddedService

    from acoupi.programs import AcoupiWorker
    from acoupi.system.apps import get_celery_app
    from acoupi.system.roles import run_worker

    app = get_celery_app(settings)
    app.conf.update(
        broker_url="memory://",
        broker_read_url="memory://",
        broker_write_url="memory://",
        broker_transport_options={},
        worker_pool="threads",
    )
    beat: Any = EmbeddedService(app, thread=True, scheduler_cls=app.conf.beat_scheduler)
    queues = [queue for worker in workers for queue in worker.consumed_queues]
    together = AcoupiWorker(
        # What the first worker does beside its tasks is done by this one.
        name=workers[0].name,
        queues=list(dict.fromkeys(queues)),
        concurrency=sum(worker.concurrency or 1 for worker in workers),
    )
    beat.start()
    try:
        return run_worker(app, together)
    finally:
        beat.stop()


def forked_role(
    name: str,
    body: Callable[[], int | None],
    log_file: Path | None,
    before: Callable[[], None],
    *,
    restart: bool = True,
) -> Role:
    """Return a role that is a fork of this process.

    Parameters
    ----------
    name
        Names the role.
    body
        What it does; returns the exit code.
    log_file
        Where its output goes; None keeps this process' output.
    before
        Called in the fork first.
    restart
        Whether the launcher starts it again when it ends.
    """

    def start() -> int:
        return fork(body, log_file, before)

    return Role(name=name, start=start, log_file=log_file, restart=restart)


def spawned_role(name: str, command: Sequence[str], log_file: Path) -> Role:
    """Return a role that is a program of its own, tethered to this process.

    Parameters
    ----------
    name
        Names the role.
    command
        Arguments; the first is the absolute path of an executable.
    log_file
        Where its output goes.
    """
    appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND

    def start() -> int:
        arguments = tethered_command(command)
        return os.posix_spawn(
            arguments[0],
            arguments,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log_file), appending, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )

    return Role(name=name, start=start, log_file=log_file)
