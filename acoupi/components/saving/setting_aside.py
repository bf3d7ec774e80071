"""Where files go that can be neither kept nor deleted without a person's look."""

from __future__ import annotations

import filecmp
import logging
import os
from pathlib import Path

from acoupi.audio.durability import copy_durably, publish

__all__ = ["SetAsideFolder"]

logger = logging.getLogger(__name__)

REASON_SUFFIX = ".reason.txt"


class SetAsideFolder:
    """Holds files with the reason why they are there, beside each.

    Parameters
    ----------
    dirpath
        The folder; made when first needed.
    max_bytes
        Most bytes of files in it; when more come, the oldest are deleted.
    """

    def __init__(self, dirpath: Path, max_bytes: int = 1_000_000_000) -> None:
        self.dirpath = Path(dirpath)
        self.max_bytes = max_bytes

    def put(self, path: Path, reason: str) -> Path:
        """Copy a file into the folder, write the reason beside it, return the copy.

        The original stays; repeating the call gives the same copy.

        Raises
        ------
        OSError
            When the disk refuses.
        """
        self.dirpath.mkdir(parents=True, exist_ok=True)
        self._make_room(path.stat().st_size)
        target = self._find_place(path)
        note = target.with_name(target.name + REASON_SUFFIX)
        part = note.with_name(f".{note.name}.tmp")
        with part.open("w", encoding="utf-8", errors="replace") as file:
            file.write(f"{reason}\n")
            file.flush()
            os.fsync(file.fileno())
        publish(part, note)
        if not target.exists():
            copy_durably(path, target)
        return target

    def _find_place(self, path: Path) -> Path:
        # names need not be text: what is not becomes an underscore
        name = os.fsencode(path.name).decode("utf-8", "replace").replace("\ufffd", "_")
        name = name.lstrip(".") or "file"
        target = self.dirpath / name
        number = 1
        while target.exists() and not filecmp.cmp(path, target, shallow=False):
            number += 1
            target = self.dirpath / f"{number}_{name}"
        return target

    def _make_room(self, coming: int) -> None:
        files = []
        for path in self.dirpath.iterdir():
            status = path.stat()
            files.append((status.st_mtime, path, status.st_size))
        total = sum(size for *_, size in files) + coming
        for _, path, size in sorted(files):
            if total <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size
            logger.warning("%s was deleted to make room for what is set aside", path)
