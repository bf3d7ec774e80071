"""The condition on free space."""

from __future__ import annotations

import datetime
import logging
import shutil
from pathlib import Path
from typing import ClassVar

from acoupi.components.places import existing_place
from acoupi.components.types import RecordingCondition
from acoupi.errors import ConfigurationError

__all__ = ["HasSufficientSpace"]

logger = logging.getLogger(__name__)

_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


class HasSufficientSpace(RecordingCondition):
    """Record while a file system has enough free space.

    Where the free space cannot be read, recording goes on and a warning says so: a
    sensor rather records too much than nothing.

    Parameters
    ----------
    path : Path
        Any path on the file system; it need not exist yet.
    min_space : float
        Smallest free space to record with, > 0, in ``unit``. What counts is the
        space free for an unprivileged user.
    unit : str
        B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024), in any
        case.

    Raises
    ------
    ConfigurationError
        When the unit is unknown or ``min_space`` not above 0.
    """

    follows_clock: ClassVar[bool] = False
    """The answer is about now, whatever time is asked about."""

    def __init__(
        self, path: Path | str, min_space: float = 1024, unit: str = "MB"
    ) -> None:
        if unit.upper() not in _UNITS:
            raise ConfigurationError(
                f"unit is {unit!r}: must be one of B, kB, MB, GB, TB, KiB, MiB, GiB, "
                "TiB"
            )
        if not min_space > 0:
            raise ConfigurationError(f"min_space is {min_space}: must be more than 0")
        self.path = Path(path)
        self.min_bytes = min_space * _UNITS[unit.upper()]
        self._unreadable = False

    def should_record(self, now: datetime.datetime | None = None) -> bool:  # noqa: ARG002 - the contract's argument; space is about now
        """Tell whether there is enough free space now."""
        try:
            free = shutil.disk_usage(existing_place(self.path)).free
        except OSError as error:
            if not self._unreadable:
                logger.warning(
                    "Cannot read the free space of %s (%s): recording goes on",
                    self.path,
                    error,
                )
            self._unreadable = True
            return True
        self._unreadable = False
        return free >= self.min_bytes
