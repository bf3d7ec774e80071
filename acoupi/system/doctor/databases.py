"""The databases: whole, of this version, free, and not growing behind."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from acoupi.system.doctor.findings import Finding, error, warning
from acoupi.system.doctor.locks import writer_for
from acoupi.system.doctor.processes import PROC
from acoupi.system.doctor.sensor import Sensor
from acoupi.system.records import reading

__all__ = ["probe"]

LOCKED_FOR = 2.0
"""Seconds without a pause that a writer holds a database to be noticed; ours commit
within milliseconds."""

CHECK_FOR = 3.0
"""Seconds that looking for damage may take; a large database is looked at in part."""

BACKLOG = 100
"""Undecided recordings from which the sensor does not keep up."""

_DAMAGE = (
    "acoupi restart: the sensor moves a damaged database aside and starts a new one; "
    "`sqlite3 FILE .recover` saves what can be read of the old one. See whether the "
    "disk has errors"
)

_LOSSES = """
SELECT kind, sum(count), max(last_on), reason FROM loss
WHERE last_on >= strftime('%Y-%m-%dT%H:%M:%S', 'now', '-1 day')
GROUP BY kind ORDER BY kind
"""


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the databases."""
    store = sensor.path_setting("paths", "db_metadata")
    outbox = sensor.path_setting("messaging", "messages_db")
    files = dict.fromkeys(path for path in (store, outbox) if path is not None)
    # Before any of them is opened, see `writer_for`.
    for path in files:
        yield from _probe_lock(path)
    for path in files:
        yield from _probe_set_aside(path)
        if not path.is_file() or path.stat().st_size == 0:
            continue
        fault = list(_probe_whole(path))
        yield from fault
        if not fault and path == store:
            yield from _probe_content(sensor, path)


def _probe_lock(path: Path) -> Iterator[Finding]:
    if not path.is_file():
        return
    holder = writer_for(path, LOCKED_FOR)
    if holder is not None:
        yield error(
            "database-locked",
            "Something holds the database, and the sensor waits for it.",
            f"{path} is held by process {holder} ({_command(holder)}) without a pause",
            f"end that process (kill {holder}); a database browser is to be closed",
        )


def _command(pid: int) -> str:
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "which cannot be seen"
    return b" ".join(words).decode(errors="replace").strip()[:80]


def _probe_set_aside(path: Path) -> Iterator[Finding]:
    aside = sorted(
        found
        for found in path.parent.glob(f"{path.name}.corrupt-*")
        if not found.name.endswith(("-wal", "-shm"))
    )
    if aside:
        yield warning(
            "database-set-aside",
            "The database was damaged once, and a new one begun.",
            f"the damaged one is {aside[-1]}",
            f"save what it holds (`sqlite3 {aside[-1]} .recover`) and delete it; see "
            "whether the disk has errors",
        )


def _probe_whole(path: Path) -> Iterator[Finding]:
    from acoupi.components.stores.schema import APPLICATION_ID, migrations

    try:
        with reading(path) as connection:
            if connection is None:
                return
            version = _value(connection, "PRAGMA user_version")
            application = _value(connection, "PRAGMA application_id")
            damage = _damage(connection)
    except sqlite3.OperationalError as problem:
        if "locked" not in str(problem):
            yield error(
                "database-unreadable",
                "The database cannot be read.",
                f"{path}: {problem}",
                "see that it and its directory belong to the sensor's user; else "
                + _DAMAGE,
            )
        return
    except sqlite3.DatabaseError as problem:
        yield error(
            "database-damaged",
            "The database is damaged.",
            f"{path}: {problem}",
            _DAMAGE,
        )
        return
    newest = max(migrations())
    if application != APPLICATION_ID:
        yield error(
            "database-foreign",
            "The database is another program's.",
            f"{path} has the application id {application:#x}",
            "choose another file: acoupi config set paths.db_metadata PATH",
        )
    elif version > newest:
        yield error(
            "database-newer",
            "The database was made by a newer version: nothing can be stored.",
            f"{path} has schema {version}, this version knows {newest}",
            "install the newer version again, or move the file away to start a new one",
        )
    elif damage:
        yield error(
            "database-damaged", "The database is damaged.", f"{path}: {damage}", _DAMAGE
        )


def _value(connection: sqlite3.Connection, query: str) -> Any:
    return connection.execute(query).fetchone()[0]


def _damage(connection: sqlite3.Connection) -> str | None:
    """Return the first damage found in the time that there is."""
    deadline = time.monotonic() + CHECK_FOR
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        said = str(_value(connection, "PRAGMA quick_check(1)"))
    except sqlite3.OperationalError as problem:
        if "interrupted" in str(problem):
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return None if said == "ok" else said.replace("\n", " ")


def _probe_content(sensor: Sensor, path: Path) -> Iterator[Finding]:
    with reading(path) as connection:
        if connection is None:
            return
        with closing(connection.execute(_LOSSES)) as losses:
            for kind, count, last, reason in losses:
                yield warning(
                    "losses",
                    "Something was lost in the last day.",
                    f"{count} {kind.replace('_', ' ')}, the last {last[:16]} UTC: "
                    f"{reason}",
                    "`acoupi status` has the sums; docs/recording.md tells the causes "
                    "of each",
                )
        counts = dict(connection.execute("SELECT name, count FROM total"))
        oldest = _value(
            connection,
            "SELECT min(created_on) FROM recording WHERE state = 'undecided'",
        )
    if counts.get("undecided", 0) > BACKLOG:
        yield error(
            "backlog",
            "Recordings wait for their analysis longer and longer.",
            f"{counts['undecided']} are undecided, the oldest of {oldest[:16]} UTC"
            + ("" if sensor.running else "; the sensor does not run"),
            "see whether the worker of the model runs (`acoupi status`); if it does, "
            "the model is too slow: record less (recording.interval), or use a faster "
            "board",
        )
