"""Places on the disk that may not have been made yet."""

from __future__ import annotations

from pathlib import Path

__all__ = ["existing_place"]


def existing_place(path: Path) -> Path:
    """Return the path, or the nearest of those above it that exists.

    Raises
    ------
    OSError
        When the disk cannot tell.
    """
    path = path.expanduser()
    for candidate in (path, *path.parents):
        if candidate.exists():
            return candidate
    return path
