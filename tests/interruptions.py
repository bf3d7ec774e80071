"""Processes that are killed for real, at a chosen step."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable

CHANGES = frozenset(
    {
        *("backup", "execute", "executemany", "executescript", "fchmod", "fdatasync"),
        *("flock", "fsync", "ftruncate", "link", "mkdir", "open", "rename", "replace"),
        *("rmdir", "symlink", "truncate", "unlink", "write"),
    }
)
"""Names of C functions that change a file or the database."""

SQL_STEPS = 60
"""Instructions of sqlite's machine between two chances to be killed."""


def killed_at(
    number: int, act: Callable[[], object], *, within_sql: bool = True
) -> bool:
    """Run ``act`` in a child that is killed at its step ``number``; False if unhurt.

    A step is a call that changes something, or a stretch of SQL in the middle of one.
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _count_steps(number, within_sql=within_sql)
            act()
            sys.setprofile(None)
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert status == 0, "the child failed by itself"
    return False


def _count_steps(number: int, *, within_sql: bool) -> None:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def called(frame, event, function) -> None:
        if event == "c_call" and function.__name__ in CHANGES:
            step()

    connect = sqlite3.connect

    def connect_and_count(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.set_progress_handler(step, SQL_STEPS)
        return connection

    if within_sql:
        sqlite3.connect = connect_and_count
    # What it starts lives on when it is killed, and is not killed for it.
    os.register_at_fork(after_in_child=lambda: sys.setprofile(None))
    sys.setprofile(called)


def kill_everywhere(
    prepare: Callable[[int], None],
    act: Callable[[], object],
    check: Callable[[bool], None],
    stride: int = 1,
    *,
    within_sql: bool = True,
) -> int:
    """Kill ``act`` at each ``stride``-th of its steps; return how often.

    ``prepare`` gets the number of the trial, ``check`` whether the child was killed.
    """
    trials, hurt = 0, True
    while hurt:
        trials += 1
        prepare(trials)
        hurt = killed_at(1 + (trials - 1) * stride, act, within_sql=within_sql)
        check(hurt)
    return trials - 1
