"""Duty cycles: on for a while, every so often."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from acoupi.errors import ConfigurationError

__all__ = ["DutyCycle"]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_SHORTEST = 1 / 60
_LONGEST = 366 * 24 * 60.0


@dataclass(frozen=True, slots=True)
class DutyCycle:
    """The first ``duration`` minutes of every ``frequency`` minutes.

    Cycles are counted from 1970-01-01 00:00 UTC, whatever the time zone: they stay
    regular through changes of daylight saving time, all sensors keep the same ones,
    and a cycle that divides the day begins at midnight UTC.

    Parameters
    ----------
    duration : float
        Minutes on, from 1/60 (a second) to a year.
    frequency : float
        Minutes from one beginning to the next, >= ``duration``; equal means always.
    offset : float
        Minutes by which every beginning is later.

    Raises
    ------
    ConfigurationError
        When a value is out of range.
    """

    duration: float
    frequency: float
    offset: float = 0

    def __post_init__(self) -> None:
        if not _SHORTEST <= self.duration <= _LONGEST:
            raise ConfigurationError(
                f"duration is {self.duration}: must be minutes, from one second "
                f"(1/60) to a year ({_LONGEST:.0f})"
            )
        if not self.duration <= self.frequency <= _LONGEST:
            raise ConfigurationError(
                f"frequency is {self.frequency}: must be the minutes from one "
                f"beginning to the next, from the duration ({self.duration}) to a "
                f"year ({_LONGEST:.0f})"
            )
        if not abs(self.offset) <= _LONGEST:
            raise ConfigurationError(
                f"offset is {self.offset}: must be minutes, a year "
                f"({_LONGEST:.0f}) at most"
            )

    def __contains__(self, instant: object) -> bool:
        """Tell whether the cycle is on at an aware datetime."""
        if not isinstance(instant, datetime.datetime):
            return False
        return self._position(instant) < _minutes(self.duration)

    def changes(
        self, start: datetime.datetime, end: datetime.datetime
    ) -> Iterator[datetime.datetime]:
        """Yield every instant in (start, end) at which the cycle goes on or off."""
        if self.duration == self.frequency:
            return
        on, period = _minutes(self.duration), _minutes(self.frequency)
        beginning = start - self._position(start)
        while beginning < end:
            for change in (beginning, beginning + on):
                if start < change < end:
                    yield change
            beginning += period

    def _position(self, instant: datetime.datetime) -> datetime.timedelta:
        """Return the time since the current cycle began."""
        return (instant - _EPOCH - _minutes(self.offset)) % _minutes(self.frequency)


def _minutes(value: float) -> datetime.timedelta:
    return datetime.timedelta(minutes=value)
