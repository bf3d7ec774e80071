"""Conditions on the sun, as seen from the deployment."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from acoupi.components.schedules import (
    Place,
    SunEvent,
    SunMoment,
    as_instant,
    as_timezone,
    describe_stand_in,
    find_place,
    in_sun_interval,
    is_near_event,
    near_event_changes,
    sun_interval_changes,
)
from acoupi.components.schedules.sun import check_minutes
from acoupi.components.types import RecordingCondition

if TYPE_CHECKING:
    from acoupi import data

__all__ = [
    "DawnTimeInterval",
    "DuskTimeInterval",
    "IsInSunInterval",
    "IsNearSunEvent",
    "SunriseTimeInterval",
    "SunsetTimeInterval",
]

logger = logging.getLogger(__name__)


class _SunCondition(RecordingCondition):
    """Knows the place from which the sun is seen."""

    def __init__(self, timezone: str | datetime.tzinfo) -> None:
        self.timezone = as_timezone(timezone)
        self._deployment: data.Deployment | None = None
        self._place: Place | None = None

    @property
    def place(self) -> Place:
        """The deployment's place, or what stands in for it; that is logged once."""
        if self._place is None:
            self._place = find_place(self._deployment, self.timezone)
            if self._place.origin != "deployment":
                logger.warning("%s", describe_stand_in(self._place, self.timezone))
        return self._place

    def use_deployment(self, deployment: data.Deployment) -> None:
        """See the sun from the place of the deployment."""
        if deployment != self._deployment:
            self._deployment, self._place = deployment, None


class IsInSunInterval(_SunCondition):
    """Record from one sun event to the next other, with offsets.

    For bats, say, from half an hour before sunset to half an hour after sunrise:
    ``IsInSunInterval(SunMoment("sunset", -30), SunMoment("sunrise", 30), timezone)``.
    On polar days and nights, see `acoupi.components.schedules.sun`.

    Parameters
    ----------
    start, end : SunMoment or {"dawn", "sunrise", "sunset", "dusk"}
        [start, end); equal means always.
    timezone : str or datetime.tzinfo
        Says where the sensor roughly is as long as the deployment has no
        coordinates.

    Raises
    ------
    ConfigurationError
        When an event or the time zone is unknown.
    """

    def __init__(
        self,
        start: SunMoment | SunEvent,
        end: SunMoment | SunEvent,
        timezone: str | datetime.tzinfo,
    ) -> None:
        super().__init__(timezone)
        self.start = start if isinstance(start, SunMoment) else SunMoment(start)
        self.end = end if isinstance(end, SunMoment) else SunMoment(end)

    def should_record(self, now: datetime.datetime | None = None) -> bool:
        """Tell whether ``now`` (default: the current time) is in the interval."""
        return in_sun_interval(as_instant(now), self.start, self.end, self.place)

    def changes(
        self, start: datetime.datetime, end: datetime.datetime
    ) -> Iterator[datetime.datetime]:
        """Yield every instant in (start, end) at which the answer may change."""
        return sun_interval_changes(self.start, self.end, self.place, start, end)


class IsNearSunEvent(_SunCondition):
    """Record for some minutes before and after a sun event.

    On polar days and nights, see `acoupi.components.schedules.sun`.

    Parameters
    ----------
    event : {"dawn", "sunrise", "sunset", "dusk"}
    duration : float
        Minutes before and minutes after the event, (0, 720]: 30 records for an hour.
    timezone : str or datetime.tzinfo
        Says where the sensor roughly is as long as the deployment has no
        coordinates.
    offset : float
        Minutes by which the middle is later (earlier, when negative) than the event.

    Raises
    ------
    ConfigurationError
        When a value is out of range or the time zone is unknown.
    """

    def __init__(
        self,
        event: SunEvent,
        duration: float,
        timezone: str | datetime.tzinfo,
        offset: float = 0,
    ) -> None:
        super().__init__(timezone)
        self.duration = check_minutes("duration", duration)
        self.moment = SunMoment(event, offset)

    def should_record(self, now: datetime.datetime | None = None) -> bool:
        """Tell whether ``now`` (default: the current time) is around the event."""
        return is_near_event(
            as_instant(now), self.moment, self.place, self.duration, self.duration
        )

    def changes(
        self, start: datetime.datetime, end: datetime.datetime
    ) -> Iterator[datetime.datetime]:
        """Yield every instant in (start, end) at which the answer may change."""
        return near_event_changes(
            self.moment, self.place, self.duration, self.duration, start, end
        )


class DawnTimeInterval(IsNearSunEvent):
    """Record for ``duration`` minutes around civil dawn; see `IsNearSunEvent`."""

    def __init__(
        self, duration: float, timezone: str | datetime.tzinfo, offset: float = 0
    ) -> None:
        super().__init__("dawn", duration, timezone, offset)


class SunriseTimeInterval(IsNearSunEvent):
    """Record for ``duration`` minutes around sunrise; see `IsNearSunEvent`."""

    def __init__(
        self, duration: float, timezone: str | datetime.tzinfo, offset: float = 0
    ) -> None:
        super().__init__("sunrise", duration, timezone, offset)


class SunsetTimeInterval(IsNearSunEvent):
    """Record for ``duration`` minutes around sunset; see `IsNearSunEvent`."""

    def __init__(
        self, duration: float, timezone: str | datetime.tzinfo, offset: float = 0
    ) -> None:
        super().__init__("sunset", duration, timezone, offset)


class DuskTimeInterval(IsNearSunEvent):
    """Record for ``duration`` minutes around civil dusk; see `IsNearSunEvent`."""

    def __init__(
        self, duration: float, timezone: str | datetime.tzinfo, offset: float = 0
    ) -> None:
        super().__init__("dusk", duration, timezone, offset)
