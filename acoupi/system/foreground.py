"""Running the sensor of a home in the foreground, everything included."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import zoneinfo
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

from acoupi.system import processes
from acoupi.system.broker import Broker, find_server
from acoupi.system.configuration import (
    load_celery_config,
    load_config,
    read_program_name,
)
from acoupi.system.launcher import Launcher, LauncherLock, Role
from acoupi.system.live import LiveView
from acoupi.system.notify import ServiceNotifier
from acoupi.system.programs import load_program
from acoupi.system.rehearsal import rehearse
from acoupi.system.settings import HOME_VARIABLE
from acoupi.system.vigilance import SUPERVISED_VARIABLE

if TYPE_CHECKING:
    import datetime
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from pydantic import BaseModel

    from acoupi.programs import AcoupiWorker
    from acoupi.system.settings import Settings

__all__ = ["Layout", "run_in_foreground"]

Layout = Literal["compact", "separate"]
"""Whether the roles are forks of one process or interpreters of their own."""

NO_BROKER = (
    "NOTE: there is no broker, so the whole sensor runs in one process, where a slow "
    "model can cost sound. Install one: apt install redis-server, or "
    "pip install 'acoupi[embedded]'."
)


def run_in_foreground(
    settings: Settings,
    layout: Layout = "compact",
    *,
    report: Callable[[str], None],
    view: bool = True,
    out: TextIO | None = None,
) -> int:
    """Run the sensor that is set up in a home until SIGINT or SIGTERM.

    Parameters
    ----------
    settings
        The home.
    layout
        How the roles become processes.
    report
        Called with each line about what a person should know.
    view
        Whether detections, progress and a summary are printed.
    out
        Where they are printed; default: standard output.

    Returns
    -------
    int
        How many times a process had to be started again.

    Raises
    ------
    AcoupiError
        When the sensor cannot run; nothing is left running then.
    """
    program = load_program(read_program_name(settings))
    config = load_config(settings)
    celery = load_celery_config(settings)
    for folder in (settings.run_dir, settings.log_dir):
        folder.mkdir(parents=True, exist_ok=True)
    notifier = ServiceNotifier(dict(os.environ))
    with (
        _environment(
            {
                # For the processes to come; they derive every path from it.
                HOME_VARIABLE: str(settings.home),
                # The launcher restarts a worker that ends itself because it hangs.
                SUPERVISED_VARIABLE: "1",
                # The service manager hears the launcher only.
                "NOTIFY_SOCKET": None,
            }
        ),
        LauncherLock(settings.run_dir / "launcher.lock") as lock,
    ):
        cast = _Cast(settings, program.get_worker_config().workers, lock)
        if layout == "compact":
            processes.preload()
        rehearse(settings)
        broker = None
        if celery.broker_url is None and find_server() is None:
            report(NO_BROKER)
            actors = cast.all_in_one()
        else:
            actors = cast.compact() if layout == "compact" else cast.separate()
            if celery.broker_url is None:
                broker = Broker(settings.broker_socket, settings.log_dir / "broker.log")
                broker.start()
        viewer = cast.viewer(config, out or sys.stdout) if view else None
        launcher = Launcher(actors, broker, viewer, cast.closing(), report, notifier)
        try:
            launcher.run()
        finally:
            if broker is not None:
                broker.stop()
        return launcher.restarts


@contextlib.contextmanager
def _environment(values: dict[str, str | None]) -> Iterator[None]:
    """Set environment variables for a while; None removes one."""
    former = {name: os.environ.get(name) for name in values}
    _set_variables(values)
    try:
        yield
    finally:
        _set_variables(former)


def _set_variables(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@dataclass(frozen=True)
class _Cast:
    """Makes the roles of one sensor."""

    settings: Settings
    workers: Sequence[AcoupiWorker]
    lock: LauncherLock

    def _log(self, name: str) -> Path:
        return self.settings.log_dir / f"{name}.log"

    def _fork(self, name: str, body: Callable[[], int | None]) -> Role:
        return processes.forked_role(name, body, self._log(name), self.lock.forget)

    def compact(self) -> list[Role]:
        """One fork for each worker, and one for beat."""
        workers = [
            self._fork(
                f"worker-{worker.name}",
                partial(processes.be_worker, self.settings, worker),
            )
            for worker in self.workers
        ]
        beat = partial(processes.be_beat, self.settings)
        return [*workers, self._fork("beat", beat)]

    def separate(self) -> list[Role]:
        """One interpreter for each worker, and one for beat, as the units do it."""
        module = ["-m", "acoupi.system.roles"]
        commands = {
            f"worker-{worker.name}": [*module, "worker", worker.name]
            for worker in self.workers
        }
        commands["beat"] = [*module, "beat"]
        return [
            processes.spawned_role(name, [sys.executable, *command], self._log(name))
            for name, command in commands.items()
        ]

    def all_in_one(self) -> list[Role]:
        """Everything in one process."""
        body = partial(processes.be_everything, self.settings, self.workers)
        return [self._fork("sensor", body)]

    def closing(self) -> Role:
        """Return the role that does what is left to do when the others have ended."""
        return processes.forked_role(
            "closing",
            partial(processes.be_closing, self.settings),
            self._log("closing"),
            self.lock.forget,
            restart=False,
        )

    def viewer(self, config: BaseModel, out: TextIO) -> Role:
        """Return the role that prints what the others do."""

        def look() -> None:
            places = _places(self.settings, config)
            view = LiveView(
                store=places.get("database"),
                recorder_status=self.settings.run_dir / "recorder.json",
                out=out,
                timezone=_timezone(config),
                places=places,
            )
            ended = threading.Event()

            def end(_: int, __: FrameType | None) -> None:
                ended.set()

            signal.signal(signal.SIGTERM, end)
            view.run(ended.wait)

        return processes.forked_role(
            "view", look, None, self.lock.forget, restart=False
        )


def _places(settings: Settings, config: BaseModel) -> dict[str, Path]:
    """Return where the program's files are, as far as its configuration tells."""
    paths = getattr(config, "paths", None)
    named = {
        "recordings": getattr(paths, "recordings", None),
        "database": getattr(paths, "db_metadata", None),
        "logs": settings.log_dir,
    }
    return {
        what: path.expanduser()
        for what, path in named.items()
        if isinstance(path, Path)
    }


def _timezone(config: BaseModel) -> datetime.tzinfo | None:
    name = getattr(config, "timezone", None)
    try:
        return zoneinfo.ZoneInfo(name) if isinstance(name, str) else None
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return None
