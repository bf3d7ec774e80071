"""Time zones and daily windows of local time."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator

from acoupi import data
from acoupi.errors import ConfigurationError

__all__ = [
    "as_instant",
    "as_timezone",
    "check_interval",
    "daily_changes",
    "in_daily_interval",
    "timezone_name",
]

_DAY = datetime.timedelta(days=1)
_SECOND = datetime.timedelta(seconds=1)
# No zone has ever changed its offset twice within so short a time.
_OFFSET_STEP = datetime.timedelta(hours=3)


def as_instant(now: datetime.datetime | None) -> datetime.datetime:
    """Return ``now`` aware and in UTC: naive is UTC, None is the current time."""
    return data.utc_now() if now is None else data.as_utc(now)


def as_timezone(timezone: str | datetime.tzinfo) -> datetime.tzinfo:
    """Return a time zone given as IANA name, zoneinfo, pytz or any other tzinfo.

    Raises
    ------
    ConfigurationError
        When the name is not a time zone of this machine; names the nearest one.
    """
    if isinstance(timezone, datetime.tzinfo):
        return timezone
    try:
        return zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        import difflib

        near = difflib.get_close_matches(timezone, zoneinfo.available_timezones(), 1)
        remedy = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigurationError(
            f"timezone is {timezone!r}: must be an IANA time zone name, such as "
            f"'Europe/London' or 'UTC'.{remedy}"
        ) from error


def timezone_name(timezone: datetime.tzinfo) -> str:
    """Return the IANA name of a zoneinfo or pytz zone, else what it calls itself."""
    for attribute in ("key", "zone"):
        name = getattr(timezone, attribute, None)
        if isinstance(name, str):
            return name
    return str(timezone)


def check_interval(interval: data.TimeInterval) -> data.TimeInterval:
    """Return the interval.

    Raises
    ------
    ConfigurationError
        When one of its times has a UTC offset of its own: the times are local to
        the time zone that goes with the interval.
    """
    for name in ("start", "end"):
        time: datetime.time = getattr(interval, name)
        if time.tzinfo is not None:
            raise ConfigurationError(
                f"interval.{name} is {time.isoformat()}: must be a local time without "
                f"UTC offset, such as {time.replace(tzinfo=None).isoformat()}; the "
                "time zone is given separately"
            )
    return interval


def in_daily_interval(
    instant: datetime.datetime,
    interval: data.TimeInterval,
    timezone: datetime.tzinfo,
) -> bool:
    """Tell whether a clock on the wall shows a time within the interval.

    The interval is [start, end); an end before the start is past midnight; an end
    equal to the start means always. It follows the wall clock through changes of
    daylight saving time: an hour that is skipped is in no interval, an hour that is
    repeated is twice in its interval.

    Parameters
    ----------
    instant : datetime.datetime
        Aware.
    interval : data.TimeInterval
        Local times.
    timezone : datetime.tzinfo
        The zone of the interval's times.
    """
    start, end = interval.start, interval.end
    if start == end:
        return True
    time = instant.astimezone(timezone).time()
    if start < end:
        return start <= time < end
    return time >= start or time < end


def daily_changes(
    interval: data.TimeInterval,
    timezone: datetime.tzinfo,
    start: datetime.datetime,
    end: datetime.datetime,
) -> Iterator[datetime.datetime]:
    """Yield every instant in (start, end) at which `in_daily_interval` may change.

    In order of pieces of constant UTC offset, not sorted within a day; in UTC.
    """
    if interval.start == interval.end:
        return
    edges = [
        datetime.timedelta(
            hours=time.hour,
            minutes=time.minute,
            seconds=time.second,
            microseconds=time.microsecond,
        )
        for time in (interval.start, interval.end)
    ]
    for piece_start, piece_end, offset in _pieces(timezone, start, end):
        if start < piece_start:
            # The offset changes here, and the wall clock jumps with it.
            yield piece_start
        midnight = (piece_start + offset).replace(
            hour=0, minute=0, second=0, microsecond=0
        ) - offset
        while midnight < piece_end:
            for edge in edges:
                if piece_start < midnight + edge < piece_end:
                    yield midnight + edge
            midnight += _DAY


def _pieces(
    timezone: datetime.tzinfo, start: datetime.datetime, end: datetime.datetime
) -> Iterator[tuple[datetime.datetime, datetime.datetime, datetime.timedelta]]:
    """Split [start, end) where the zone's UTC offset changes."""

    def offset_at(instant: datetime.datetime) -> datetime.timedelta:
        return instant.astimezone(timezone).utcoffset() or datetime.timedelta(0)

    piece_start, offset = start, offset_at(start)
    instant = start
    while instant < end:
        following = min(instant + _OFFSET_STEP, end)
        if (following_offset := offset_at(following)) != offset:
            # Zones change at whole seconds.
            before, after = instant.replace(microsecond=0), following
            while after - before > _SECOND:
                middle = before + (after - before) // (2 * _SECOND) * _SECOND
                if offset_at(middle) == offset:
                    before = middle
                else:
                    after = middle
            change = before + _SECOND
            yield piece_start, change, offset
            piece_start, offset = change, following_offset
        instant = following
    if piece_start < end:
        yield piece_start, end, offset
