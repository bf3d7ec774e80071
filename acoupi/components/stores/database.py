"""One sqlite file: opened once per process, durable commits, forward migrations.

Settings and their reasons: WAL so that readers never block the writer;
``synchronous=FULL`` so that a commit that returned survives a power cut (with
NORMAL, acknowledged rows are lost, see https://www.sqlite.org/pragma.html);
``BEGIN IMMEDIATE`` so that two writers queue instead of failing half-way.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from acoupi.audio.durability import fsync_directory
from acoupi.components.stores.errors import (
    CorruptDatabase,
    DatabaseError,
    DatabaseUnavailable,
)
from acoupi.components.stores.schema import migrate
from acoupi.data import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Database"]

logger = logging.getLogger(__name__)

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process's transaction."""

_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its folder exists and "
    "is writable",
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check or replace it",
    sqlite3.SQLITE_LOCKED: "another process holds it",
    sqlite3.SQLITE_READONLY: "it is read-only; check its permissions and the disk",
}


class Database:
    """One sqlite file, shared by the components of this process.

    Get it with `at`: the same path gives the same object, so that a message store and
    a metadata store in one file share one transaction. Threads take turns. The file
    is opened, created or migrated on first use.

    Parameters
    ----------
    path
        The file; its folder is created when missing.
    """

    _instances: ClassVar[weakref.WeakValueDictionary[Path, Database]] = (
        weakref.WeakValueDictionary()
    )
    _instances_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._depth = 0

    @classmethod
    def at(cls, path: Path | str) -> Database:
        """Return this process's database for ``path``."""
        resolved = Path(path).expanduser().resolve()
        with cls._instances_lock:
            database = cls._instances.get(resolved)
            if database is None:
                database = cls._instances[resolved] = cls(resolved)
            return database

    def __del__(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._inode = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Group writes into one durable commit: all of them or none.

        Inside another transaction of the same thread, joins it; when the inner part
        raises, only the inner part is undone.

        Raises
        ------
        DatabaseUnavailable
            When the disk is full, read-only or failing, or the file is busy.
        CorruptDatabase
            When the file is found damaged; it has been set aside.
        """
        with self._lock:
            if self._depth:
                with self._savepoint() as connection:
                    yield connection
                return
            with self._whole("BEGIN IMMEDIATE") as connection:
                yield connection
                self._refuse_what_is_not_flushed()

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Read from one consistent state of the database.

        Raises the same errors as `transaction`.
        """
        with self._lock:
            if self._depth:
                assert self._connection is not None
                yield self._connection
                return
            with self._whole("BEGIN") as connection:
                yield connection

    def check(self) -> None:
        """Read the whole file and raise an error when it is damaged.

        Takes about a second per 100 MB; meant for people, not for every start.
        """
        with self.reading() as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise CorruptDatabase(
                f"{self.path} is damaged ({verdict}). Move it away: a new one is made "
                "at the next start."
            )

    @contextlib.contextmanager
    def _whole(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._explained():
            connection = self._open()
            connection.execute(begin)
            self._depth = 1
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    # a failed rollback hides the first error, and closing undoes too
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0

    def _refuse_what_is_not_flushed(self) -> None:
        # On an ext4 that the kernel has forced to be read-only under open files, they
        # still take writes, and fsync succeeds without having written any of it.
        try:
            read_only = os.statvfs(self.path).f_flag & os.ST_RDONLY
        except OSError as error:
            raise self._unavailable(str(error.strerror)) from error
        if read_only:
            raise self._unavailable(_UNAVAILABLE[sqlite3.SQLITE_READONLY])

    def _unavailable(self, reason: str) -> DatabaseUnavailable:
        return DatabaseUnavailable(f"{self.path} cannot be used: {reason}.")

    @contextlib.contextmanager
    def _savepoint(self) -> Iterator[sqlite3.Connection]:
        assert self._connection is not None
        name = f"depth_{self._depth}"
        self._connection.execute(f"SAVEPOINT {name}")
        self._depth += 1
        try:
            yield self._connection
        except BaseException:
            # a disk-full error may have ended the whole transaction already
            if self._connection.in_transaction:
                self._connection.execute(f"ROLLBACK TO {name}")
                self._connection.execute(f"RELEASE {name}")
            raise
        else:
            self._connection.execute(f"RELEASE {name}")
        finally:
            self._depth -= 1

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _CORRUPT:
                aside = self._set_aside(str(error))
                raise CorruptDatabase(
                    f"{self.path} is damaged ({error}); it was moved to {aside} and "
                    "a new one will be used."
                ) from error
            if code in _UNAVAILABLE:
                raise self._unavailable(f"{_UNAVAILABLE[code]} ({error})") from error
            raise

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode == _inode(self.path):
            return self._connection
        self.close()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._file_lock():
                self._connection = self._prepare()
        except OSError as error:
            raise self._unavailable(error.strerror or str(error)) from error
        self._inode = _inode(self.path)
        return self._connection

    def _prepare(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _CORRUPT:
                raise
            aside = self._move_aside()
            logger.error(  # noqa: TRY400  the reason is the message, not the place
                "%s is damaged (%s): moved to %s, starting a new one",
                self.path,
                error,
                aside,
            )
            connection = self._connect()
            _count_loss(connection, f"{error}: moved to {aside.name}")
            return connection

    def _connect(self) -> sqlite3.Connection:
        created = not self.path.exists()
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            migrate(connection, self.path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            # reads the whole schema, so that a damaged one is noticed now
            connection.execute("SELECT count(*) FROM recording").fetchone()
        except BaseException:
            connection.close()
            raise
        if created:
            fsync_directory(self.path.parent)
        return connection

    def _set_aside(self, reason: str) -> Path:
        """Move the damaged file away, unless another process did so already."""
        inode = self._inode
        self.close()
        with self._file_lock():
            if inode is not None and _inode(self.path) != inode:
                return self.path
            aside = self._move_aside()
            # A disk that takes nothing now is met again, and told of, at the next use.
            with contextlib.suppress(sqlite3.Error, DatabaseError, OSError):
                connection = self._connect()
                _count_loss(connection, f"{reason}: moved to {aside.name}")
                connection.close()
        logger.error("%s is damaged (%s): moved to %s", self.path, reason, aside)
        return aside

    def _move_aside(self) -> Path:
        stamp = f"{utc_now():%Y%m%dT%H%M%S.%f}"
        aside = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for suffix in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
        fsync_directory(self.path.parent)
        return aside

    @contextlib.contextmanager
    def _file_lock(self) -> Iterator[None]:
        """Let one process at a time create, migrate or set aside this file."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _forget_after_fork(self) -> None:
        # sqlite connections must not cross a fork: leave the parent's open, unused
        _inherited.append(self._connection)
        self._connection = None
        self._inode = None
        self._depth = 0
        self._lock = threading.RLock()


_inherited: list[sqlite3.Connection | None] = []


def _after_fork_in_child() -> None:
    Database._instances_lock = threading.Lock()
    for database in list(Database._instances.values()):
        database._forget_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _count_loss(connection: sqlite3.Connection, reason: str) -> None:
    now = utc_now()
    connection.execute(
        "INSERT INTO loss (day, kind, reason, count, last_on) "
        "VALUES (?, 'database', ?, 1, ?)",
        (f"{now:%Y-%m-%d}", reason, now.isoformat(timespec="microseconds")),
    )


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
