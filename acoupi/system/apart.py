"""Running a function in a process of its own that ends with it.

Programs are other people's code: what they do when they are set up may raise, hang,
crash or end the process, and must not take the caller along.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from acoupi.errors import AcoupiError, ConfigurationError
from acoupi.system.forks import fork

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_apart"]

_POLL = 0.1
"""Seconds between two looks whether the process ended, when something that it started
holds its end of the pipe open."""


def run_apart(
    action: Callable[[], Any],
    what: str,
    *,
    before: Callable[[], None] | None = None,
    patience: float | None = None,
) -> Any:
    """Run a function in a fork of this process, and return its result.

    It has no input, and its output goes to the standard error. Nothing that it
    started is left running.

    Parameters
    ----------
    action : callable
        Takes nothing, returns what JSON can hold.
    what : str
        Names it in errors.
    before : callable, optional
        Called in the fork first.
    patience : float, optional
        Seconds that it may take; default: for ever.

    Raises
    ------
    AcoupiError
        When the function raised it, or anything else, or ended the process, or did
        not end. A `ConfigurationError` when it raised one.
    """
    reading, writing = os.pipe()

    def body() -> int:
        os.close(reading)
        _hide_the_terminal()
        with os.fdopen(writing, "wb") as answers:
            answers.write(json.dumps(_outcome(action)).encode())
        return 0

    with warnings.catch_warnings():
        # In a process with threads the fork may wait for a lock for ever, which is
        # what the patience is for.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = _Child(fork(body, before=before))
    os.close(writing)
    try:
        answer = _listen(reading, child, patience)
    finally:
        os.close(reading)
        code = child.end()
    try:
        kind, content = json.loads(answer)
    # None, or not to its end.
    except ValueError:
        raise AcoupiError(f"{what} {_how_it_ended(code, patience)}") from None
    if kind == "result":
        return content
    raise (ConfigurationError if kind == "configuration" else AcoupiError)(content)


def _hide_the_terminal() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open for as long as the process
    sys.stdout = sys.stderr


def _outcome(action: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "result", action()
    except ConfigurationError as error:
        return "configuration", str(error)
    except AcoupiError as error:
        return "error", str(error)
    except Exception as error:  # noqa: BLE001 - told to the other process
        return "error", f"{type(error).__name__}: {error}"


class _Child:
    """A process and what it started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def has_ended(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid else None
        return self._status is not None

    def end(self) -> int:
        """End it, and return its exit code or, negative, the signal that ended it."""
        until = time.monotonic() + _POLL
        while not self.has_ended() and time.monotonic() < until:
            time.sleep(0.001)
        # It leads a group of its own.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._status is None:
            # It may have stopped before it came to lead one.
            os.kill(self.pid, signal.SIGKILL)
            _, self._status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(self._status)


def _listen(reading: int, child: _Child, patience: float | None) -> bytes:
    """Return what the process says until it ends; nothing when that lasts too long."""
    deadline = None if patience is None else time.monotonic() + patience
    said = b""
    while deadline is None or time.monotonic() < deadline:
        ended = child.has_ended()
        if select.select([reading], [], [], 0 if ended else _POLL)[0]:
            piece = os.read(reading, 65536)
            if not piece:
                return said
            said += piece
        elif ended:
            return said
    return b""


def _how_it_ended(code: int, patience: float | None) -> str:
    if code == -signal.SIGKILL and patience is not None:
        return f"did not end within {patience:g} s"
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})"
    return f"ended its process (code {code})"
