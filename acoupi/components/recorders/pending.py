"""The bound on sound files that wait for a decision."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PendingFiles"]

logger = logging.getLogger(__name__)


class PendingFiles:
    """Keeps a directory of undecided recordings within its bound.

    When the bound is passed, the oldest files are deleted first: what is newest is
    most likely to be still wanted by a model that lags behind.

    Parameters
    ----------
    directory
        Where recordings wait.
    max_bytes
        Most bytes of sound files there; None means no bound.
    """

    def __init__(self, directory: Path, max_bytes: int | None) -> None:
        self.directory = directory
        self.max_bytes = max_bytes

    def list_files(self) -> list[Path]:
        """Return the complete recordings that wait, oldest first."""
        try:
            return sorted(self.directory.glob("*.wav"))
        except OSError:
            return []

    def make_room(self, coming: int) -> list[Path]:
        """Delete the oldest files until ``coming`` more bytes fit; return them."""
        if self.max_bytes is None:
            return []
        files = self.list_files()
        sizes = [_size(path) for path in files]
        total = sum(sizes) + coming
        dropped = []
        for path, size in zip(files, sizes, strict=True):
            if total <= self.max_bytes:
                break
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("%s cannot be deleted to make room: %s", path, error)
                continue
            total -= size
            dropped.append(path)
        return dropped


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
