"""Forking: processes that go on from where this one is."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

from acoupi.system.tether import tether

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["fork"]


def fork(
    body: Callable[[], int | None],
    log_file: Path | None = None,
    before: Callable[[], None] | None = None,
) -> int:
    """Run a function in a process that ends with this one, and return its id.

    Parameters
    ----------
    body
        What the process does; returns its exit code.
    log_file
        Where its output goes; None keeps this process' output.
    before
        Called in the process first.
    """
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
    before: Callable[[], None] | None,
) -> NoReturn:
    """Be the fork, to its end: nothing may return into this process' frames."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        # SIGINT is for the parent, which ends its children in order, whether it comes
        # from the terminal or was sent to every process of that name.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.setsid()
        if before is not None:
            before()
        # After it, since who becomes another user is tethered no more.
        tether(parent)
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
