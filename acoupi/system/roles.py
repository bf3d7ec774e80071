"""The processes of a sensor: its workers and beat.

`run_worker` and `run_beat` do what the ``celery`` command does, without the command
line's imports: they cost 9 MB in every process. The generated scripts run this module::

    python -m acoupi.system.roles worker recording
    python -m acoupi.system.roles beat
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from acoupi.errors import AcoupiError
from acoupi.system.failures import quieten_failures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from celery import Celery

    from acoupi.programs import AcoupiProgram, AcoupiWorker
    from acoupi.system.settings import Settings

__all__ = ["find_worker", "main", "note_trouble", "run_beat", "run_worker"]


def run_worker(
    app: Celery,
    worker: AcoupiWorker,
    *,
    log_file: Path | None = None,
    pid_file: Path | None = None,
) -> int:
    """Run a worker until it is told to stop.

    SIGTERM and SIGINT end it after its running tasks, SIGQUIT at once.

    Parameters
    ----------
    app : celery.Celery
        From `acoupi.system.get_celery_app`.
    worker : AcoupiWorker
        Which of the program's workers.
    log_file, pid_file : Path, optional
        Default: log to standard error, write no process id.

    Returns
    -------
    int
        Exit code of the process: 0 after a clean stop.
    """
    from celery.utils.nodenames import host_format

    _tell_of_crashes()
    _quieten(app)
    hostname = host_format(f"{worker.name}@%h")
    if not _begin_early(app, worker, hostname, log_file):
        return 1
    controller: Any = app.Worker(
        hostname=hostname,
        queues=",".join(worker.consumed_queues),
        pool=app.conf.worker_pool,
        concurrency=worker.concurrency or 1,
        loglevel=_log_level(app),
        logfile=str(log_file) if log_file else None,
        pidfile=str(pid_file) if pid_file else None,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        quiet=True,
    )
    controller.start()
    return int(controller.exitcode or 0)


def run_beat(
    app: Celery,
    *,
    log_file: Path | None = None,
    pid_file: Path | None = None,
) -> int:
    """Run the scheduler until it is told to stop.

    Parameters
    ----------
    app : celery.Celery
        From `acoupi.system.get_celery_app`.
    log_file, pid_file : Path, optional
        Default: log to standard error, write no process id.

    Returns
    -------
    int
        Exit code of the process: 0 after a clean stop.
    """
    from celery.apps.beat import Beat

    beat = Beat(
        app=app,
        scheduler=app.conf.beat_scheduler,
        loglevel=_log_level(app),
        logfile=str(log_file) if log_file else None,
        pidfile=str(pid_file) if pid_file else None,
        quiet=True,
    )
    beat.run()
    return 0


def find_worker(app: Celery, name: str) -> AcoupiWorker:
    """Return the worker of that name of the app's program.

    Raises
    ------
    acoupi.errors.ConfigurationError
        If the program has no worker of that name.
    """
    from acoupi.errors import ConfigurationError

    # An attribute of ours, which Celery does not declare: set by get_celery_app.
    program: AcoupiProgram[Any] = app.acoupi_program  # type: ignore[attr-defined]
    workers = program.get_worker_config().workers
    for worker in workers:
        if worker.name == name:
            return worker
    names = ", ".join(worker.name for worker in workers)
    raise ConfigurationError(f"there is no worker {name!r}: the program has {names}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one role of the sensor whose home is ``ACOUPI_HOME``.

    Returns
    -------
    int
        Exit code: 0 after a clean stop, 2 when the home is not set up or the worker
        is unknown.
    """
    options = _parse(arguments)
    try:
        return _run(options)
    except AcoupiError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m acoupi.system.roles")
    roles = parser.add_subparsers(dest="role", required=True)
    worker = roles.add_parser("worker", help="run one of the program's workers")
    worker.add_argument("name")
    beat = roles.add_parser("beat", help="run the scheduler")
    for role in (worker, beat):
        role.add_argument("--log-file")
        role.add_argument("--pid-file")
    return parser.parse_args(arguments)


def note_trouble(settings: Settings, role: str, text: str) -> None:
    """Let the status tell what keeps a role from working."""
    from acoupi.system.troubles import TroubleLog

    TroubleLog.of_role(settings.run_dir, role).note(text)


def _run(options: argparse.Namespace) -> int:
    from pathlib import Path

    from acoupi.system.apps import get_celery_app
    from acoupi.system.settings import Settings

    settings = Settings()
    role = "beat" if options.role == "beat" else f"worker-{options.name}"
    try:
        app = get_celery_app(settings)
    except AcoupiError as error:
        note_trouble(settings, role, str(error))
        raise
    files: dict[str, Path | None] = {
        "log_file": Path(options.log_file) if options.log_file else None,
        "pid_file": Path(options.pid_file) if options.pid_file else None,
    }
    if options.role == "beat":
        return run_beat(app, **files)
    return run_worker(app, find_worker(app, options.name), **files)


def _begin_early(
    app: Celery, worker: AcoupiWorker, hostname: str, log_file: Path | None
) -> bool:
    """Begin to record before Celery's worker is loaded: a third of the time it takes.

    Returns
    -------
    bool
        Whether the worker may go on; the log says why not.
    """
    from acoupi.system.lifecycle import ProgramLife

    if app.conf.worker_pool == "prefork":
        # Whose processes would be copies of one that records: it begins after them.
        return True
    # Celery's worker would do it, and does not do it again.
    app.log.setup_logging_subsystem(
        loglevel=_log_level(app),
        logfile=str(log_file) if log_file else None,
        hostname=hostname,
    )
    life = ProgramLife.of(app, hostname, worker.consumed_queues)
    try:
        life.begin()
    # Others' code, and the log says what it raised.
    except (Exception, SystemExit):  # noqa: BLE001 - as said
        life.end()
        return False
    return True


def _tell_of_crashes() -> None:
    """Have a crash of compiled code leave a trace in the log."""
    # A descriptor of its own: sounddevice sends standard error to nowhere while
    # PortAudio starts, which is where PortAudio aborts the process when the ALSA
    # configuration has no "default".
    faulthandler.enable(os.dup(2))


def _quieten(app: Celery) -> None:
    quieten_failures()
    # Two lines for every task, every few seconds for months, wear out a card and say
    # nothing; failures are still logged.
    if _log_level(app) == "INFO":
        for name in ("celery.worker.strategy", "celery.app.trace"):
            logging.getLogger(name).setLevel(logging.WARNING)


def _log_level(app: Celery) -> str:
    return str(app.conf.get("acoupi_log_level") or "INFO")


if __name__ == "__main__":
    try:
        code = main()
    except SystemExit as finished:
        code = finished.code if isinstance(finished.code, int) else 1
    # Threads of third-party libraries must not keep a finished process alive.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
