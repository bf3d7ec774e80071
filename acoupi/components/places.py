"""Places on the disk that may not have been made yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["FullPath", "existing_place"]


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


def _full(path: Path) -> Path:
    """Return the path with ``~`` written out; refuse one that depends on where from."""
    try:
        full = path.expanduser()
    except RuntimeError:
        full = path
    if not full.is_absolute():
        example = "" if full == Path() else f", as {full.absolute()}"
        raise ValueError(f"must be a full path, which begins with /{example}")
    return full


FullPath = Annotated[Path, AfterValidator(_full)]
"""A path in a configuration: the processes that use it run in different directories."""
