"""A whole sensor in the foreground: broker, workers, beat, and a view of them.

The launcher is the parent of all. It restarts what dies, with back-off, and ends all
of them in order when it is asked to end. In the compact layout it has everything
imported that the roles share and forks them: they share that memory, start at once
and restart at once. In the separate layout each role is an interpreter of its own,
started by the rendered scripts, as the units do it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from acoupi.errors import AcoupiError
from acoupi.system.locks import take_lock
from acoupi.system.notify import ServiceNotifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from acoupi.system.broker import Broker

__all__ = ["Launcher", "LauncherLock", "Role", "backoff", "trim_log"]

logger = logging.getLogger(__name__)

FIRST_DELAY = 1.0
"""Seconds before the first restart of a role that died."""

LONGEST_DELAY = 60.0
"""Seconds at most between two restarts; there is no last one."""

STEADY = 60.0
"""Seconds after which a role counts as running well and its back-off is forgotten."""

STOP_TIMEOUT = 20.0
"""Seconds the roles are given to finish what they do."""

CLOSING_TIMEOUT = 10.0
"""Seconds the closing role is given."""

LARGEST_LOG = 5_000_000
"""Bytes of a role's log before it is trimmed; one former part is kept."""

ROUND = 0.5
"""Seconds between two looks at the children when nothing is reported."""


def backoff(failures: int) -> float:
    """Return the seconds to wait before restarting after ``failures`` in a row."""
    return float(min(FIRST_DELAY * 2.0 ** min(failures - 1, 16), LONGEST_DELAY))


@dataclass
class Role:
    """One process of the sensor.

    Parameters
    ----------
    name
        Names it to people and names its log.
    start
        Starts it and returns its process id.
    log_file
        Where it writes; trimmed by the launcher. None when it has none.
    restart
        Whether it is started again when it dies.
    """

    name: str
    start: Callable[[], int]
    log_file: Path | None = None
    restart: bool = True
    pid: int | None = None
    failures: int = 0
    started_at: float = 0.0
    due_at: float = 0.0

    def launch(self) -> None:
        """Start the process."""
        self.pid = self.start()
        self.started_at = time.monotonic()

    def ended(self) -> float:
        """Note that the process ended; return the seconds until its restart."""
        now = time.monotonic()
        self.pid = None
        self.failures = 1 if now - self.started_at > STEADY else self.failures + 1
        delay = backoff(self.failures)
        self.due_at = now + delay
        return delay


class LauncherLock:
    """Lets one launcher at a time run the sensor of a home.

    Parameters
    ----------
    path
        The lock file; it holds the process id of the launcher that has it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not take_lock(descriptor):
            owner = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise AcoupiError(
                f"This sensor runs already (process {owner or 'unknown'}, "
                f"{self.path}): stop it with Ctrl-C where it was started, or "
                f"kill {owner or 'that process'}."
            )
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def forget(self) -> None:
        """Give up the descriptor in a fork; the launcher keeps the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Launcher:
    """Runs roles until it is told to stop.

    Parameters
    ----------
    roles
        What to run, in the order of starting; they are stopped in reverse.
    broker
        The embedded broker, already started; None when another is used.
    viewer
        A role that is stopped last, so that it can print the summary.
    closing
        A role that runs once when the others have ended, for a few seconds at most.
    report
        Called with one line about what a person should know.
    notifier
        Tells the service manager, when there is one, that the roles are looked after.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        broker: Broker | None = None,
        viewer: Role | None = None,
        closing: Role | None = None,
        report: Callable[[str], None] = logger.warning,
        notifier: ServiceNotifier | None = None,
    ) -> None:
        self.roles = list(roles)
        self.broker = broker
        self.viewer = viewer
        self.closing = closing
        self.report = report
        self.notifier = notifier or ServiceNotifier({})
        self._signals = 0
        self._restarts = 0
        self._broker_failures = 0
        self._broker_due = 0.0
        self._wakeup: int | None = None

    @property
    def restarts(self) -> int:
        """How many times a role or the broker died and was started again."""
        return self._restarts

    def run(self) -> None:
        """Start the roles and keep them running until SIGINT or SIGTERM.

        A second signal ends them without waiting for what they do.
        """
        with self._handled_signals():
            try:
                for role in self._all():
                    role.launch()
                self.notifier.ready("running")
                while not self._signals:
                    self.notifier.alive()
                    self._wait(ROUND)
                    self._look_after()
            finally:
                self.notifier.stopping()
                self._stop_all()

    def stop(self) -> None:
        """Ask `run` to end; what a signal does."""
        self._signals += 1

    def _all(self) -> list[Role]:
        return [*self.roles, *([self.viewer] if self.viewer else [])]

    def _look_after(self) -> None:
        self._reap()
        now = time.monotonic()
        self._look_after_broker(now)
        for role in self._all():
            if role.pid is None and role.restart and now >= role.due_at:
                self._restarts += 1
                role.launch()
            if role.log_file is not None:
                trim_log(role.log_file)

    def _look_after_broker(self, now: float) -> None:
        if self.broker is None or self.broker.alive or now < self._broker_due:
            return
        self._broker_failures += 1
        self._broker_due = now + backoff(self._broker_failures)
        self.report("the embedded broker died; starting it again")
        try:
            self.broker.start()
        except (AcoupiError, OSError) as error:
            self.report(f"{error} Trying again.")
        else:
            self._restarts += 1
            self._broker_failures = 0

    def _reap(self) -> None:
        for role in [*self._all(), *([self.closing] if self.closing else [])]:
            if role.pid is None:
                continue
            pid, status = os.waitpid(role.pid, os.WNOHANG)
            if pid == 0:
                continue
            code = os.waitstatus_to_exitcode(status)
            how = (
                f"was ended by {signal.Signals(-code).name}"
                if code < 0
                else f"ended with code {code}"
            )
            delay = role.ended()
            if role.restart and not self._signals:
                where = f"; its log is {role.log_file}" if role.log_file else ""
                self.report(
                    f"{role.name} {how}; starting it again in {delay:.0f} s{where}"
                )

    def _stop_all(self) -> None:
        asked = max(self._signals, 1)
        for role in self.roles[::-1]:
            _signal(role, signal.SIGTERM)
        self._await_end(self.roles, STOP_TIMEOUT, asked)
        if self.broker is not None:
            self.broker.stop()
        if self.closing is not None and self._signals <= asked:
            self.closing.launch()
            self._await_end([self.closing], CLOSING_TIMEOUT, asked)
        if self.viewer is not None:
            _signal(self.viewer, signal.SIGTERM)
            self._await_end([self.viewer], STOP_TIMEOUT, asked)

    def _await_end(self, roles: Sequence[Role], timeout: float, asked: int) -> None:
        """Wait for roles to end; kill them after ``timeout`` or one more signal."""
        deadline = time.monotonic() + timeout
        while any(role.pid is not None for role in roles):
            self._wait(0.05)
            self._reap()
            if time.monotonic() > deadline or self._signals > asked:
                for role in roles:
                    if role.pid is not None:
                        self.report(f"{role.name} does not end: killing it")
                        _signal(role, signal.SIGKILL)
                deadline = float("inf")
                asked = self._signals

    @contextlib.contextmanager
    def _handled_signals(self) -> Iterator[None]:
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        os.set_blocking(read_end, False)
        former_wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

        def note(number: int, _: FrameType | None) -> None:
            if number != signal.SIGCHLD:
                self._signals += 1

        former = {
            number: signal.signal(number, note)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
        }
        self._wakeup = read_end
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(former_wakeup)
            self._wakeup = None
            os.close(read_end)
            os.close(write_end)

    def _wait(self, seconds: float) -> None:
        """Wait until a signal arrives, at most ``seconds``."""
        if self._wakeup is None:
            time.sleep(seconds)
            return
        ready, _, _ = select.select([self._wakeup], [], [], seconds)
        if ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeup, 4096)


def _signal(role: Role, number: signal.Signals) -> None:
    if role.pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(role.pid, number)


def trim_log(path: Path, largest: int = LARGEST_LOG) -> None:
    """Move a log that passed ``largest`` bytes to ``PATH.1`` and empty it.

    The writer must append (``O_APPEND``); it needs no notice.
    """
    import shutil

    try:
        if path.stat().st_size <= largest:
            return
        shutil.copyfile(path, path.with_name(f"{path.name}.1"))
        os.truncate(path, 0)
    except OSError as error:
        logger.debug("log %s is not trimmed: %s", path, error)
