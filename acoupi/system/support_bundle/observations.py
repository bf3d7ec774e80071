"""What is looked at on the machine: commands, files, databases. Nothing is changed."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "acoupi_command",
    "command_output",
    "describe_database",
    "file_list",
    "read_end",
    "versions",
]

PATIENCE = 20.0
"""Seconds that a command may take."""

_DATABASE_PATIENCE = 5.0
_MOST_FILES = 2000
_MOST_OUTPUT = 2 * 1024 * 1024


def command_output(
    command: Sequence[str],
    patience: float = PATIENCE,
    environment: dict[str, str] | None = None,
) -> str:
    """Run a command and return what it prints, with its end when that was not good.

    A command that does not end in time is ended, and what it printed until then
    counts.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=patience,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        )
    except FileNotFoundError:
        return f"[{command[0]} is not installed]\n"
    except subprocess.TimeoutExpired as slow:
        return f"{_text(slow.stdout)}\n[not done within {patience:g} s: ended]\n"
    except OSError as error:
        return f"[{command[0]} cannot be run: {error.strerror or error}]\n"
    end = "" if done.returncode == 0 else f"\n[ended with code {done.returncode}]\n"
    return _text(done.stdout) + end


def _text(output: bytes | None) -> str:
    return (output or b"")[-_MOST_OUTPUT:].decode(errors="replace")


def acoupi_command(home: Path, *arguments: str, patience: float = PATIENCE) -> str:
    """Run one of our own commands on a home, in a process of its own."""
    return command_output(
        [sys.executable, "-m", "acoupi.cli", *arguments],
        patience,
        {"ACOUPI_HOME": str(home), "NO_COLOR": "1"},
    )


def read_end(path: Path, most: int = 256 * 1024) -> str:
    """Return the end of a file, or why it cannot be read."""
    try:
        found = path.stat()
        # A pipe or a device would be waited for.
        if not stat.S_ISREG(found.st_mode):
            return f"[{path} is not a regular file]\n"
        # The kernel's own files have no size, nor an end to go to.
        size = found.st_size
        with path.open("rb") as stream:
            if size > most:
                stream.seek(size - most)
            text = stream.read(most).decode(errors="replace")
    except OSError as error:
        return f"[{path} cannot be read: {error.strerror or error}]\n"
    return text if size <= most else text.partition("\n")[2]


def read_all(paths: Iterable[Path]) -> str:
    """Return the contents of small files, one after the other, each under its name."""
    return "".join(f"== {path}\n{read_end(path).rstrip()}\n\n" for path in paths)


def file_list(directory: Path, most: int = _MOST_FILES) -> str:
    """List the files below a directory: type and mode, owner, size, time, name."""
    lines = [f"== {directory}"]
    try:
        lines.append(_entry(directory, "."))
    except OSError as error:
        return f"{lines[0]}\n[{error.strerror}]\n"
    count = 0
    for folder, folders, files in os.walk(directory):
        folders.sort()
        for name in sorted([*folders, *files]):
            count += 1
            if count > most:
                return "\n".join([*lines, f"[... only the first {most}]", ""])
            path = Path(folder) / name
            try:
                lines.append(_entry(path, str(path.relative_to(directory))))
            except OSError as error:
                lines.append(f"[{path}: {error.strerror}]")
    return "\n".join([*lines, ""])


def _entry(path: Path, name: str) -> str:
    found = path.lstat()
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime))
    target = f" -> {path.readlink()}" if path.is_symlink() else ""
    return (
        f"{stat.filemode(found.st_mode)} {found.st_uid}:{found.st_gid} "
        f"{found.st_size:>12} {when} {name}{target}"
    )


def describe_database(path: Path) -> dict[str, Any]:
    """Return size, schema and row counts of a database, without any of its rows."""
    found: dict[str, Any] = {
        "path": str(path),
        "bytes": {
            name: file.stat().st_size
            for name in ("", "-wal", "-shm")
            if (file := path.with_name(path.name + name)).exists()
        },
    }
    if not path.is_file() or not path.stat().st_size:
        return found
    # As in acoupi.system.records: an idle database must not be given a journal.
    idle = not path.with_name(f"{path.name}-wal").exists()
    mode = "mode=ro&immutable=1" if idle else "mode=ro"
    uri = f"{path.absolute().as_uri()}?{mode}"
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=0.5)) as connection:
            ends = time.monotonic() + _DATABASE_PATIENCE
            connection.set_progress_handler(lambda: time.monotonic() > ends, 10_000)
            _describe(connection, found)
    except sqlite3.Error as error:
        found["error"] = str(error)
    return found


def _describe(connection: sqlite3.Connection, found: dict[str, Any]) -> None:
    for pragma in (
        "application_id",
        "user_version",
        "journal_mode",
        "page_size",
        "page_count",
        "freelist_count",
    ):
        found[pragma] = connection.execute(f"PRAGMA {pragma}").fetchone()[0]
    found["sqlite"] = sqlite3.sqlite_version
    schema = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
    )
    found["schema"] = dict(schema.fetchall())
    found["rows"] = rows = {}
    tables = connection.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
    ).fetchall()
    for (table,) in tables:
        quoted = table.replace('"', '""')
        query = f'SELECT count(*) FROM "{quoted}"'  # noqa: S608 - a name from the schema itself
        rows[table] = connection.execute(query).fetchone()[0]
    verdict = connection.execute("PRAGMA quick_check(5)").fetchall()
    found["quick_check"] = [line for (line,) in verdict]


def versions() -> dict[str, Any]:
    """Return the versions of the software, from the kernel to the packages."""
    import importlib.metadata
    import platform

    import acoupi

    packages = {
        str(found.metadata["Name"]): found.version
        for found in importlib.metadata.distributions()
        if found.metadata["Name"]
    }
    return {
        "acoupi": acoupi.__version__,
        "python": sys.version,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "platform": platform.platform(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }
