"""How the roles of a sensor in the foreground become processes.

`forked_role` makes one of the compact layout: a fork of the launcher, which has
imported what the roles share. `spawned_role` makes one of the separate layout: an
interpreter of its own. What a role does is in `acoupi.system.roles`.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from acoupi.errors import AcoupiError, ConfigurationError
from acoupi.system.launcher import Role
from acoupi.system.tether import tether, tethered_command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acoupi.programs import AcoupiWorker
    from acoupi.system.settings import Settings

__all__ = [
    "be_beat",
    "be_closing",
    "be_everything",
    "be_worker",
    "forked_role",
    "preload",
    "rehearse",
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
        return _fork(body, log_file, before)

    return Role(name=name, start=start, log_file=log_file, restart=restart)


def _fork(
    body: Callable[[], int | None],
    log_file: Path | None,
    before: Callable[[], None],
) -> int:
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _live(parent, body, log_file, before)
    return pid


def _live(
    parent: int,
    body: Callable[[], int | None],
    log_file: Path | None,
    before: Callable[[], None],
) -> NoReturn:
    """Be the fork, to its end: nothing may return into the launcher's frames."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # SIGINT is for the launcher, which ends the roles in order, whether it comes
        # from the terminal or was sent to every process of that name.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.setsid()
        tether(parent)
        before()
        if log_file is not None:
            _redirect(log_file)
        code = body() or 0
    except SystemExit as finished:
        code = finished.code if isinstance(finished.code, int) else 1
    except BaseException:  # noqa: BLE001 - the end of a process: all goes to its log
        traceback.print_exc()
    finally:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 1
        # Threads of third-party libraries must not keep a finished process alive.
        os._exit(code)


def _redirect(log_file: Path) -> None:
    log_file.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(null)
    # Whole lines, and into the log even where the launcher's streams were replaced.
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)


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


def rehearse(settings: Settings) -> None:
    """Set the program up once, in a process that ends then, to see that it can be.

    Raises
    ------
    AcoupiError
        What a person should know when the set-up fails, with its exit code.
    """
    read_end, write_end = os.pipe()

    def body() -> int:
        os.close(read_end)
        os.write(write_end, json.dumps(_attempt(settings)).encode()[:60_000])
        return 0

    pid = _fork(body, None, lambda: None)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as answers:
        text = answers.read()
    _, status = os.waitpid(pid, 0)
    if not text:
        raise AcoupiError(
            "The program ended its process while it was set up (code "
            f"{os.waitstatus_to_exitcode(status)}): its setup() must return."
        )
    message, exit_code = json.loads(text)
    if exit_code:
        kind = ConfigurationError if exit_code == 2 else AcoupiError
        raise kind(message)


def _attempt(settings: Settings) -> tuple[str, int]:
    """Return what to say, and the exit code: 0 when the set-up works."""
    from acoupi.system.apps import get_celery_app

    try:
        app: Any = get_celery_app(settings)
        store = getattr(app.acoupi_program, "store", None)
        if store is not None:
            # The first use opens it: a newer schema or a read-only disk shows now.
            store.get_current_deployment()
    except AcoupiError as error:
        return str(error), error.exit_code
    except Exception as error:  # noqa: BLE001 - programs are others' code
        return f"The program cannot be set up: {type(error).__name__}: {error}", 1
    return "", 0
