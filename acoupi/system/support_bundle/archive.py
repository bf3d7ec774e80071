"""An archive that is built in memory, bounded, and there complete or not at all."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import TYPE_CHECKING

from acoupi.system.files import write_durably

if TYPE_CHECKING:
    from pathlib import Path

    from acoupi.system.support_bundle.redaction import Redactor

__all__ = ["LARGEST_ARCHIVE", "LARGEST_PART", "BundleArchive"]

LARGEST_PART = 512 * 1024
"""Bytes of one file in the archive; of a longer one the end is kept."""

LARGEST_ARCHIVE = 16 * 1024 * 1024
"""Bytes of all files in the archive together, before they are compressed."""


class BundleArchive:
    """Collects texts, each without its secrets.

    Parameters
    ----------
    folder
        Name of the folder that holds everything in the archive.
    redactor
        Takes the secrets out.
    created_on
        Time of the files in it, seconds since 1970.
    """

    def __init__(self, folder: str, redactor: Redactor, created_on: int) -> None:
        self.names: list[str] = []
        """What is in the archive."""
        self._folder = folder
        self._redactor = redactor
        self._created_on = created_on
        self._room = LARGEST_ARCHIVE
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(  # noqa: SIM115 - closed by write
            fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT
        )

    def add(self, name: str, text: str) -> None:
        """Add a text file; too long a one without its beginning."""
        # Cut first: it bounds the work, and a secret that is cut in two has lost its
        # first part only, which the line's end covers.
        content = self._redactor.text(_end_of(text, LARGEST_PART)).encode(
            errors="replace"
        )
        if len(content) > self._room:
            content = b"left out: the bundle is full\n"
        self._room -= len(content)
        entry = tarfile.TarInfo(f"{self._folder}/{self._redactor.text(name)}")
        entry.size, entry.mode, entry.mtime = len(content), 0o600, self._created_on
        self._tar.addfile(entry, io.BytesIO(content))
        self.names.append(name)

    def write(self, path: Path) -> int:
        """Write the compressed archive, for its owner only; return its size."""
        self._tar.close()
        content = gzip.compress(self._buffer.getvalue(), mtime=self._created_on)
        write_durably(path, content, mode=0o600)
        return len(content)


def _end_of(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = text[-most:]
    # From a line's beginning, so that no half of a secret remains.
    return f"[the beginning is left out]\n{end.partition(chr(10))[2]}"
