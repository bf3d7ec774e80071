"""Who holds a database for writing: asked of the kernel, without taking a lock."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from pathlib import Path

__all__ = ["writer_for"]

_WAL_WRITE_LOCK = 120
"""Byte of the ``-shm`` file that a writer locks, https://www.sqlite.org/walformat.html"""
_RESERVED_LOCK = 0x40000001
"""Byte of the database that a writer locks without WAL,
https://www.sqlite.org/lockingv3.html"""

# struct flock: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x" if struct.calcsize("P") == 8 else "hhqqi")


def writer_for(database: Path, seconds: float) -> int | None:
    """Return the process that holds a database for writing all the time.

    Call it before the database is opened in this process: closing the file again
    would end sqlite's own locks.

    Parameters
    ----------
    database
        The file.
    seconds
        How long the lock is to be held without a pause to count.

    Returns
    -------
    int or None
        The process, 0 when the kernel does not tell which; None when nobody does.
    """
    deadline = time.monotonic() + seconds
    holder = _holder(database)
    while holder is not None and time.monotonic() < deadline:
        time.sleep(0.05)
        again = _holder(database)
        if again != holder:
            return None
    return holder


def _holder(database: Path) -> int | None:
    shared = database.with_name(f"{database.name}-shm")
    for path, byte in ((shared, _WAL_WRITE_LOCK), (database, _RESERVED_LOCK)):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
            kind, _, _, _, pid = _FLOCK.unpack(
                fcntl.fcntl(handle, fcntl.F_GETLK, asked)
            )
        except OSError:
            continue
        finally:
            os.close(handle)
        if kind == fcntl.F_WRLCK:
            return int(pid)
    return None
