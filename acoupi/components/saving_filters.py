"""Which recordings are worth keeping, by the time at which they began.

Filters are ORed. They look at the start of the recording (``created_on``), never at
the current time, and compute the sun with the coordinates of the recording's own
deployment. Filters by score are in `acoupi.components.saving`.
"""

from __future__ import annotations

import datetime
import logging
from typing import TYPE_CHECKING

from acoupi.components.schedules import (
    DutyCycle,
    Place,
    SunMoment,
    as_instant,
    as_timezone,
    check_interval,
    describe_stand_in,
    find_place,
    in_daily_interval,
    is_near_event,
    place_of_deployment,
)
from acoupi.components.schedules.sun import check_minutes
from acoupi.components.types import RecordingSavingFilter

if TYPE_CHECKING:
    from acoupi import data

__all__ = [
    "After_DawnDuskTimeInterval",
    "Before_DawnDuskTimeInterval",
    "FrequencySchedule",
    "SaveIfInInterval",
]

logger = logging.getLogger(__name__)


class SaveIfInInterval(RecordingSavingFilter):
    """Keep recordings that began within a daily interval of local time.

    Parameters
    ----------
    interval : data.TimeInterval
        [start, end) in local time; an end before the start means past midnight, an
        end equal to the start always.
    timezone : str or datetime.tzinfo
        The zone of the interval's times: IANA name, zoneinfo or pytz.

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

    def should_save_recording(
        self,
        recording: data.Recording,
        model_outputs: list[data.ModelOutput] | None = None,  # noqa: ARG002 - the contract's argument; this filter is about time
    ) -> bool:
        """Tell whether the recording began within the interval."""
        return in_daily_interval(
            as_instant(recording.created_on), self.interval, self.timezone
        )


class FrequencySchedule(RecordingSavingFilter):
    """Keep recordings that began in the first minutes of every so many minutes.

    ``FrequencySchedule(duration=5, frequency=30)`` keeps what began from 12:00 to
    12:05, from 12:30 to 12:35, and so on. Cycles are counted from 1970-01-01 00:00
    UTC (`acoupi.components.schedules.DutyCycle`).

    Parameters
    ----------
    duration : float
        Minutes kept, > 0. No shorter than the interval between recordings, or
        none may happen to begin in it.
    frequency : float
        Minutes from one beginning to the next, >= ``duration``.

    Raises
    ------
    ConfigurationError
        When a value is out of range.
    """

    def __init__(self, duration: float, frequency: float) -> None:
        self.cycle = DutyCycle(duration, frequency)

    def should_save_recording(
        self,
        recording: data.Recording,
        model_outputs: list[data.ModelOutput] | None = None,  # noqa: ARG002 - the contract's argument; this filter is about time
    ) -> bool:
        """Tell whether the recording began while the cycle was on."""
        return as_instant(recording.created_on) in self.cycle


class _NearDawnOrDusk(RecordingSavingFilter):
    """Keeps recordings that began near civil dawn or civil dusk."""

    def __init__(self, duration: float, timezone: str | datetime.tzinfo) -> None:
        self.duration = check_minutes("duration", duration)
        self.timezone = as_timezone(timezone)
        self._place: Place | None = None
        self._warned = False

    def use_deployment(self, deployment: data.Deployment) -> None:
        """Know the place of recordings whose own deployment has no coordinates."""
        self._place = place_of_deployment(deployment)

    def _place_of(self, recording: data.Recording) -> Place:
        place = place_of_deployment(recording.deployment) or self._place
        if place is not None:
            return place
        place = find_place(None, self.timezone)
        if not self._warned:
            logger.warning("%s", describe_stand_in(place, self.timezone))
            self._warned = True
        return place

    def _began_near(
        self, recording: data.Recording, *, before: float, after: float
    ) -> bool:
        instant = as_instant(recording.created_on)
        place = self._place_of(recording)
        return any(
            is_near_event(instant, SunMoment(event), place, before, after)
            for event in ("dawn", "dusk")
        )


class Before_DawnDuskTimeInterval(_NearDawnOrDusk):  # noqa: N801 - the name that published programs import
    """Keep recordings that began in the minutes before civil dawn or civil dusk.

    Parameters
    ----------
    duration : float
        Minutes, (0, 720]: [event - duration, event).
    timezone : str or datetime.tzinfo
        Says where a recording roughly is from when its deployment has no coordinates.

    Raises
    ------
    ConfigurationError
        When the duration is out of range or the time zone unknown.
    """

    def should_save_recording(
        self,
        recording: data.Recording,
        model_outputs: list[data.ModelOutput] | None = None,  # noqa: ARG002 - the contract's argument; this filter is about time
    ) -> bool:
        """Tell whether the recording began shortly before dawn or dusk."""
        return self._began_near(recording, before=self.duration, after=0)


class After_DawnDuskTimeInterval(_NearDawnOrDusk):  # noqa: N801 - the name that published programs import
    """Keep recordings that began in the minutes after civil dawn or civil dusk.

    Parameters
    ----------
    duration : float
        Minutes, (0, 720]: [event, event + duration).
    timezone : str or datetime.tzinfo
        Says where a recording roughly is from when its deployment has no coordinates.

    Raises
    ------
    ConfigurationError
        When the duration is out of range or the time zone unknown.
    """

    def should_save_recording(
        self,
        recording: data.Recording,
        model_outputs: list[data.ModelOutput] | None = None,  # noqa: ARG002 - the contract's argument; this filter is about time
    ) -> bool:
        """Tell whether the recording began shortly after dawn or dusk."""
        return self._began_near(recording, before=0, after=self.duration)
