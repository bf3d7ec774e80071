"""Conditions on the clock: daily windows and duty cycles."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from acoupi.components.schedules import (
    DutyCycle,
    as_instant,
    as_timezone,
    check_interval,
    daily_changes,
    in_daily_interval,
)
from acoupi.components.types import RecordingCondition
from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from acoupi import data

__all__ = ["IsInDutyCycle", "IsInInterval", "IsInIntervals"]


class IsInInterval(RecordingCondition):
    """Record while the local time is within a daily interval.

    The interval is [start, end): 06:00 to 22:30 records from 06:00:00 and no more at
    22:30:00. An end before the start means past midnight, an end equal to the start
    always. It follows the wall clock through daylight saving time.

    Parameters
    ----------
    interval : data.TimeInterval
        Local times.
    timezone : str or datetime.tzinfo
        IANA name, or a zone of zoneinfo or pytz.

    Raises
    ------
    ConfigurationError
        When the time zone is unknown or the interval's times carry an offset.
    """

    def __init__(
        self, interval: data.TimeInterval, timezone: str | datetime.tzinfo
    ) -> None:
        self.interval = check_interval(interval)
        self.timezone = as_timezone(timezone)

    def should_record(self, now: datetime.datetime | None = None) -> bool:
        """Tell whether ``now`` (default: the current time) is in the interval."""
        return in_daily_interval(as_instant(now), self.interval, self.timezone)

    def changes(
        self, start: datetime.datetime, end: datetime.datetime
    ) -> Iterator[datetime.datetime]:
        """Yield every instant in (start, end) at which the answer may change."""
        return daily_changes(self.interval, self.timezone, start, end)


class IsInIntervals(RecordingCondition):
    """Record while the local time is within any of several daily intervals.

    Parameters
    ----------
    intervals : sequence of data.TimeInterval
        At least one, each as for `IsInInterval`; they may overlap.
    timezone : str or datetime.tzinfo
        IANA name, or a zone of zoneinfo or pytz.

    Raises
    ------
    ConfigurationError
        When there is no interval, the time zone is unknown or a time carries an
        offset.
    """

    def __init__(
        self, intervals: Sequence[data.TimeInterval], timezone: str | datetime.tzinfo
    ) -> None:
        if not intervals:
            raise ConfigurationError(
                "intervals is empty: nothing would ever be recorded. Give at least "
                "one interval, or leave the condition out to record at any time"
            )
        self.intervals = [check_interval(interval) for interval in intervals]
        self.timezone = as_timezone(timezone)

    def should_record(self, now: datetime.datetime | None = None) -> bool:
        """Tell whether ``now`` (default: the current time) is in an interval."""
        instant = as_instant(now)
        return any(
            in_daily_interval(instant, interval, self.timezone)
            for interval in self.intervals
        )

    def changes(
        self, start: datetime.datetime, end: datetime.datetime
    ) -> Iterator[datetime.datetime]:
        """Yield every instant in (start, end) at which the answer may change."""
        for interval in self.intervals:
            yield from daily_changes(interval, self.timezone, start, end)


class IsInDutyCycle(RecordingCondition):
    """Record during the first minutes of every so many minutes.

    Cycles are counted from midnight UTC of 1970-01-01
    (`acoupi.components.schedules.DutyCycle`).

    Parameters
    ----------
    duration, frequency, offset : float
        Minutes on, minutes from one beginning to the next, minutes by which every
        beginning is later.

    Raises
    ------
    ConfigurationError
        When a value is out of range.
    """

    def __init__(self, duration: float, frequency: float, offset: float = 0) -> None:
        self.cycle = DutyCycle(duration, frequency, offset)

    def should_record(self, now: datetime.datetime | None = None) -> bool:
        """Tell whether the cycle is on at ``now`` (default: the current time)."""
        return as_instant(now) in self.cycle

    def changes(
        self, start: datetime.datetime, end: datetime.datetime
    ) -> Iterator[datetime.datetime]:
        """Yield every instant in (start, end) at which the answer changes."""
        return self.cycle.changes(start, end)
