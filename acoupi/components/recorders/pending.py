"""The bound on sound files that wait for a decision."""

from __future__ import annotations

import logging
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PendingFiles"]

logger = logging.getLogger(__name__)


RESERVE_SHARE = 0.05
"""Share of a file system that is left free."""
LARGEST_RESERVE = 64 * 2**20
"""Most bytes that are left free."""


class PendingFiles:
    """Keeps a directory of undecided recordings within its bound.

    When the bound is passed, or the file system is nearly full, the oldest files are
    deleted first: the recorder goes on whatever happens to models and messages. The
    newest file is never deleted.

    Parameters
    ----------
    directory
        Where recordings wait.
    max_bytes
        Most bytes of sound files there; None means what the file system holds.
    """

    def __init__(self, directory: Path, max_bytes: int | None) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._known: dict[Path, None] = {}

    def list_files(self) -> list[Path]:
        """Return the complete recordings that wait, oldest first.

        In the order in which they were first seen here, and among those by the time in
        their names: a clock that was set back does not make the newest the oldest.
        """
        try:
            found = set(self.directory.glob("*.wav"))
        except OSError:
            return []
        known = [path for path in self._known if path in found]
        files = [*known, *sorted(found.difference(known))]
        self._known = dict.fromkeys(files)
        return files

    def excess(self, share: float) -> int:
        """Return how many bytes wait beyond a share of what may wait at most."""
        used = sum(_size(path) for path in self.list_files())
        most = used + max(0, self._free_space())
        if self.max_bytes is not None:
            most = min(most, self.max_bytes)
        return max(0, used - int(most * share))

    def make_room(self, coming: int) -> list[Path]:
        """Delete the oldest files until ``coming`` more bytes fit; return them."""
        files = self.list_files()
        sizes = [_size(path) for path in files]
        excess = coming - self._free_space()
        if self.max_bytes is not None:
            excess = max(excess, sum(sizes) + coming - self.max_bytes)
        dropped = []
        for path, size in zip(files[:-1], sizes, strict=False):
            if excess <= 0:
                break
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                logger.warning("%s cannot be deleted to make room: %s", path, error)
                continue
            excess -= size
            dropped.append(path)
        return dropped

    def _free_space(self) -> int:
        try:
            usage = shutil.disk_usage(self.directory)
        except OSError:
            return sys.maxsize
        return usage.free - min(LARGEST_RESERVE, int(usage.total * RESERVE_SHARE))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
