"""Files that are complete or absent, also after a power cut.

A file's content is safe after fsync of the file; its name only after fsync of the
directory that holds it. Hence everywhere: write under another name, fsync, rename,
fsync the directory.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

__all__ = ["PART_SUFFIX", "copy_durably", "fsync_directory", "publish"]

PART_SUFFIX = ".part"
"""Added to the name of a file that is still being written."""


def fsync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, final: Path) -> None:
    """Give a finished file, whose content was fsynced, its final name, durably."""
    temporary.replace(final)
    fsync_directory(final.parent)


def copy_durably(source: Path, target: Path) -> Path:
    """Copy a file so that ``target`` is complete or absent, and return ``target``.

    An existing ``target`` is replaced. When anything fails, no temporary file stays
    behind and ``target`` is what it was.

    Raises
    ------
    OSError
        If the source cannot be read or the target cannot be written.
    """
    temporary = temporary_beside(target)
    try:
        with source.open("rb") as reader, temporary.open("xb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        publish(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def temporary_beside(target: Path) -> Path:
    """Return a free hidden name in the directory of ``target``."""
    return target.with_name(f".{uuid.uuid4().hex[:8]}-{target.name[-80:]}.tmp")
