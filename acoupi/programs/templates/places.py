"""Where a program keeps its data unless its configuration says otherwise."""

from __future__ import annotations

import os
import tempfile
import zlib
from pathlib import Path

__all__ = ["data_path", "temporary_audio_path"]

_MEMORY = Path("/dev/shm")  # noqa: S108  # A private directory is made inside.


def data_path(name: str) -> Path:
    """Return where data of that name is kept: below ``ACOUPI_HOME``."""
    return _home() / "data" / name


def temporary_audio_path() -> Path:
    """Return where recordings wait for a decision: in memory, where there is some.

    The directory belongs to this user and this home alone.
    """
    parent = _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())
    home = zlib.crc32(os.fsencode(_home()))
    return parent / f"acoupi-{os.getuid()}-{home:08x}" / "audio"


def _home() -> Path:
    named = os.environ.get("ACOUPI_HOME")
    home = Path(named) if named else Path.home() / ".acoupi"
    return Path(os.path.normpath(home.expanduser().absolute()))
