"""The partition that any laptop reads: FAT, without owners, links or a journal."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

from acoupi.system.files import sync_directory
from acoupi.system.provisioning.document import LARGEST_FILE

__all__ = ["CONFIGURATION", "REPORT", "Partition"]

CONFIGURATION = "acoupi.toml"
REPORT = "acoupi-report.txt"

_ENDING_HIDDEN = "acoupi.toml.txt"
"""What Notepad makes of the name while Windows hides endings."""


class Partition:
    """The directory where the partition is mounted.

    Parameters
    ----------
    path : Path
        The directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def notes(self) -> list[str]:
        """What is notable about the names of the files."""
        if not (self.path / _ENDING_HIDDEN).is_file():
            return []
        if self._has_configuration:
            note = (
                f"there is also a file {_ENDING_HIDDEN}, which is not read: Notepad "
                "adds the ending .txt, which Windows hides; rename it to "
                f"{CONFIGURATION} if it is the one you mean"
            )
            return [note]
        return [f"{_ENDING_HIDDEN} was read, for want of {CONFIGURATION}"]

    @property
    def _has_configuration(self) -> bool:
        return os.path.lexists(self.path / CONFIGURATION)

    @property
    def configuration(self) -> Path:
        """The file that is read."""
        if not self._has_configuration and (self.path / _ENDING_HIDDEN).is_file():
            return self.path / _ENDING_HIDDEN
        return self.path / CONFIGURATION

    def read(self) -> bytes | None:
        """Return the configuration, bounded; None when there is none.

        Raises
        ------
        OSError
            When it is there and cannot be read.
        """
        try:
            with open(self.configuration, "rb", opener=_open_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise OSError(errno.EINVAL, "It is not a regular file")
                return file.read(LARGEST_FILE + 1)
        except FileNotFoundError:
            return None

    def replace(self, path: Path, content: bytes) -> None:
        """Put a file in the place of another, whole or not at all.

        Raises
        ------
        OSError
            When that fails.
        """
        # One name, so that power cuts leave one stray file at most.
        temporary = self.path / f"{path.name}.new"
        with suppress(FileNotFoundError):
            temporary.unlink()
        try:
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(self.path)


def _open_at_once(path: str, flags: int) -> int:
    # A pipe would otherwise be waited for, and the boot with it.
    return os.open(path, flags | os.O_NONBLOCK)
