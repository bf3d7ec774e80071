"""Dawn, sunrise, sunset and dusk anywhere on Earth, polar regions included.

An event is the moment at which the centre of the sun passes an altitude: -0.833
degrees for sunrise and sunset (the upper limb at the horizon with standard
refraction), -6 degrees for dawn and dusk (civil twilight). The sun's position comes
from `astral` (the equations of the NOAA solar calculator, after J. Meeus,
*Astronomical Algorithms*); the moment is found to the second by bisection between
solar midnight and solar noon, so that there is one event of each kind per solar day
at every longitude, and none is lost or doubled where its time drifts over midnight.

Polar days and nights: on a solar day on which the sun does not pass the altitude, the
moment at which it comes nearest to doing so stands in for the event: solar midnight
where the sun stays above, solar noon where it stays below. This is what the event
tends to as the last ordinary day is approached, so nothing jumps when the polar day
begins: the interval from sunset to sunrise is empty during the polar day and
everything during the polar night, and half an hour around dawn becomes half an hour
around midnight, respectively noon.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from acoupi.components.schedules.places import Place
from acoupi.errors import ConfigurationError

__all__ = [
    "SunEvent",
    "SunMoment",
    "SunTime",
    "check_minutes",
    "in_sun_interval",
    "is_near_event",
    "near_event_changes",
    "sun_event",
    "sun_interval_changes",
]

SunEvent = Literal["dawn", "sunrise", "sunset", "dusk"]
"""In the order in which they come within a solar day."""

_ORDER: tuple[SunEvent, ...] = get_args(SunEvent)
_ALTITUDES: dict[SunEvent, float] = {
    "dawn": -6.0,
    "sunrise": -0.833,
    "sunset": -0.833,
    "dusk": -6.0,
}
_RISING = frozenset[SunEvent]({"dawn", "sunrise"})
_DAY = datetime.timedelta(days=1)
_LARGEST_SHIFT = 720.0


class SunTime(NamedTuple):
    """When an event is."""

    time: datetime.datetime
    """In UTC, to the second."""
    occurs: bool
    """False when the sun does not pass the altitude on that solar day, and the
    moment at which it comes nearest stands in."""


@dataclass(frozen=True, slots=True)
class SunMoment:
    """A sun event, or so many minutes after (before, when negative) it.

    Raises
    ------
    ConfigurationError
        When the event is unknown or the offset more than 720 minutes either way.
    """

    event: SunEvent
    offset: float = 0
    """Minutes, [-720, 720]."""

    def __post_init__(self) -> None:
        if self.event not in _ORDER:
            raise ConfigurationError(
                f"event is {self.event!r}: must be one of {', '.join(_ORDER)}"
            )
        if not abs(self.offset) <= _LARGEST_SHIFT:
            raise ConfigurationError(
                f"offset is {self.offset}: must be minutes within "
                f"[-{_LARGEST_SHIFT:.0f}, {_LARGEST_SHIFT:.0f}]"
            )

    def on(self, day: datetime.date, place: Place) -> datetime.datetime:
        """Return the moment of a solar day, in UTC."""
        return sun_event(self.event, day, place).time + _minutes(self.offset)


def check_minutes(name: str, value: float) -> float:
    """Return a length in minutes, (0, 720].

    Raises
    ------
    ConfigurationError
        When it is out of range.
    """
    if not 0 < value <= _LARGEST_SHIFT:
        raise ConfigurationError(
            f"{name} is {value}: must be minutes, more than 0 and at most "
            f"{_LARGEST_SHIFT:.0f}"
        )
    return value


def sun_event(event: SunEvent, day: datetime.date, place: Place) -> SunTime:
    """Return when an event is on a solar day.

    Parameters
    ----------
    event : {"dawn", "sunrise", "sunset", "dusk"}
    day : datetime.date
        The solar day: from one solar midnight of the place to the next, around the
        noon that its local mean time puts on this date.
    place : Place
    """
    return _passage(
        place.latitude, place.longitude, day, _ALTITUDES[event], event in _RISING
    )


def is_near_event(
    instant: datetime.datetime,
    moment: SunMoment,
    place: Place,
    before: float,
    after: float,
) -> bool:
    """Tell whether an instant is in [moment - before, moment + after) of any day.

    ``before`` and ``after`` are minutes, [0, 720].
    """
    return any(
        start <= instant < end
        for start, end in _near(instant, instant, moment, place, before, after)
    )


def near_event_changes(
    moment: SunMoment,
    place: Place,
    before: float,
    after: float,
    start: datetime.datetime,
    end: datetime.datetime,
) -> Iterator[datetime.datetime]:
    """Yield every instant in (start, end) at which `is_near_event` may change."""
    for window in _near(start, end, moment, place, before, after):
        for change in window:
            if start < change < end:
                yield change


def in_sun_interval(
    instant: datetime.datetime, first: SunMoment, last: SunMoment, place: Place
) -> bool:
    """Tell whether an instant is in [first, last): from one moment to the next other.

    An interval that would begin and end at the same moment means always, as it does
    for local time; one whose offsets make it end before it begins is empty.
    """
    if first == last:
        return True
    return any(
        start <= instant < end
        for start, end in _between(instant, instant, first, last, place)
    )


def sun_interval_changes(
    first: SunMoment,
    last: SunMoment,
    place: Place,
    start: datetime.datetime,
    end: datetime.datetime,
) -> Iterator[datetime.datetime]:
    """Yield every instant in (start, end) at which `in_sun_interval` may change."""
    if first == last:
        return
    for window in _between(start, end, first, last, place):
        for change in window:
            if start < change < end:
                yield change


def _near(
    start: datetime.datetime,
    end: datetime.datetime,
    moment: SunMoment,
    place: Place,
    before: float,
    after: float,
) -> Iterator[tuple[datetime.datetime, datetime.datetime]]:
    """Yield the windows around a moment that reach into [start, end]."""
    earlier, later = _minutes(before), _minutes(after)
    shift = _minutes(moment.offset)
    for day in _solar_days(start - shift - later, end - shift + earlier, place):
        centre = moment.on(day, place)
        yield centre - earlier, centre + later


def _between(
    start: datetime.datetime,
    end: datetime.datetime,
    first: SunMoment,
    last: SunMoment,
    place: Place,
) -> Iterator[tuple[datetime.datetime, datetime.datetime]]:
    """Yield the windows from one moment to the next other that reach into them."""
    order = [(_ORDER.index(moment.event), moment.offset) for moment in (first, last)]
    later = datetime.timedelta(days=0 if order[0] < order[1] else 1)
    for day in _solar_days(
        start - _minutes(last.offset) - later, end - _minutes(first.offset), place
    ):
        yield first.on(day, place), last.on(day + later, place)


def _solar_days(
    start: datetime.datetime, end: datetime.datetime, place: Place
) -> Iterator[datetime.date]:
    """Yield the solar days that have an instant of [start, end]."""
    to_local = _minutes(4 * place.longitude)
    # True solar time and its mean are never further apart (the equation of time).
    margin = _minutes(20)
    day, last = (start + to_local - margin).date(), (end + to_local + margin).date()
    while day <= last:
        yield day
        day += _DAY


def _minutes(value: float) -> datetime.timedelta:
    return datetime.timedelta(minutes=value)


@functools.lru_cache(maxsize=1024)
def _passage(
    latitude: float,
    longitude: float,
    day: datetime.date,
    altitude: float,
    rising: bool,
) -> SunTime:
    noon = _solar_noon(longitude, day)
    other = _solar_noon(longitude, day - _DAY if rising else day + _DAY)
    midnight = min(noon, other) + abs(noon - other) / 2
    high, low = _whole_seconds(noon), _whole_seconds(midnight)
    if _altitude(latitude, longitude, high) < altitude:
        return SunTime(high, occurs=False)
    if _altitude(latitude, longitude, low) >= altitude:
        return SunTime(low, occurs=False)
    seconds = int((high - low).total_seconds())
    # `below` and `above`: seconds from solar midnight, negative in the evening.
    below, above = 0, seconds
    while abs(above - below) > 1:
        # Towards zero, as the bounds may be negative.
        middle = below + int((above - below) / 2)
        instant = low + datetime.timedelta(seconds=middle)
        if _altitude(latitude, longitude, instant) >= altitude:
            above = middle
        else:
            below = middle
    # The first second of the new state: above after rising, below after setting.
    found = above if rising else below
    return SunTime(low + datetime.timedelta(seconds=found), occurs=True)


def _altitude(latitude: float, longitude: float, instant: datetime.datetime) -> float:
    """Return the geometric altitude of the sun's centre, in degrees."""
    from astral import Observer
    from astral.sun import elevation

    return elevation(Observer(latitude, longitude, 0.0), instant, with_refraction=False)


def _solar_noon(longitude: float, day: datetime.date) -> datetime.datetime:
    from astral import Observer
    from astral.sun import noon

    return noon(Observer(0.0, longitude, 0.0), day)


def _whole_seconds(instant: datetime.datetime) -> datetime.datetime:
    return instant.replace(microsecond=0)
