"""The schema of the database: numbered scripts, applied once, forward only."""

from __future__ import annotations

import importlib.resources
import logging
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

from acoupi.audio.durability import publish
from acoupi.components.stores.errors import ForeignDatabase, NewerSchema

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["migrate", "migrations"]

logger = logging.getLogger(__name__)

APPLICATION_ID = int.from_bytes(b"acou", "big")
"""Marks our files, so that another program's database is never migrated."""

SPARE_BYTES = 64 * 2**20
"""Bytes that a backup leaves free."""


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database to the newest schema; a former one is backed up first.

    Each script is one transaction: it is applied whole or not at all.

    Parameters
    ----------
    connection
        To the database, outside any transaction.
    path
        Its file; the backup is ``<name>.schema-<number>.backup`` beside it, where the
        disk has room for one.

    Raises
    ------
    NewerSchema, ForeignDatabase
        When the database is not for this version; it is left as it is.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != APPLICATION_ID:
        raise ForeignDatabase(
            f"{path} is the database of another program: it is left alone. Choose "
            "another file in the configuration (paths.db_metadata or "
            "messaging.messages_db)."
        )
    scripts = migrations()
    newest = max(scripts)
    if version > newest:
        raise NewerSchema(
            f"{path} has schema {version}; this version knows schemas up to {newest}. "
            "Install the newer version again, or move the file away to start a new one."
        )
    if 0 < version < newest:
        _back_up(connection, path, version)
    for number in range(version + 1, newest + 1):
        _apply(connection, number, scripts[number])


def migrations() -> dict[int, str]:
    """Return the numbered migration scripts, by number from 1."""
    folder = importlib.resources.files("acoupi.components.stores") / "migrations"
    return {
        int(file.name.split("_")[0]): file.read_text(encoding="utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }


def _apply(connection: sqlite3.Connection, number: int, script: str) -> None:
    try:
        connection.executescript(
            "BEGIN IMMEDIATE;\n"
            f"{script}\n"
            f"PRAGMA application_id = {APPLICATION_ID};\n"
            f"PRAGMA user_version = {number};\n"
            "COMMIT;"
        )
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Copy the database beside itself, unless the disk has no room for a copy.

    Without a copy it is migrated all the same: each step is one transaction, and a
    sensor that waits for room would never delete what makes the disk full.
    """
    target = path.with_name(f"{path.name}.schema-{version}.backup")
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    size = pages * page_size
    if shutil.disk_usage(path.parent).free < size + SPARE_BYTES:
        logger.error(
            "%s: migrated without a backup, as the disk has no room for its %.0f MB",
            path,
            size / 1e6,
        )
        return
    try:
        copy = sqlite3.connect(part)
        try:
            connection.backup(copy)
        finally:
            copy.close()
        with part.open("rb") as file:
            os.fsync(file.fileno())
        # One of an earlier attempt may be older than what the database holds now.
        publish(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    logger.info("%s: schema %d backed up to %s", path, version, target)
