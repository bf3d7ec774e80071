"""Files that appear complete or not at all, and the temporary sound files."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["get_temp_files", "sync_directory", "write_durably"]

_SOUND_SUFFIXES = frozenset({".wav", ".flac"})


def get_temp_files(path: Path | None = None) -> list[Path]:
    """Return the finished sound files of a temporary directory, oldest name first.

    Parameters
    ----------
    path : Path, optional
        The directory; searched below, too. Default: the system's shared memory,
        else its temporary directory.

    Returns
    -------
    list of Path
        Empty when there is no such directory.
    """
    if path is None:
        memory = Path("/dev/shm")  # noqa: S108 - only listed, never written
        path = memory if memory.is_dir() else Path(tempfile.gettempdir())
    return sorted(
        found
        for found in Path(path).rglob("*")
        if found.suffix.lower() in _SOUND_SUFFIXES and found.is_file()
    )


def write_durably(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file that is there complete, or as it was before, whatever happens.

    Parameters
    ----------
    path : Path
        The file; its directory must exist.
    content : bytes
        What is to be in it.
    mode : int
        Its permissions, which it has before it has its content.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
