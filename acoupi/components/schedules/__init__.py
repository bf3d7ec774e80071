"""When: pure functions of an instant, a time zone and a place.

Daily windows, sun events and duty cycles, and the preview of what conditions made
of them will do. Nothing here reads the clock or keeps state; conditions
(`acoupi.components.conditions`) and saving filters
(`acoupi.components.saving_filters`) are thin classes over these functions.

Every window is half open: it contains its start and not its end, so that adjacent
windows neither overlap nor leave a gap.
"""

from __future__ import annotations

from acoupi.components.schedules.clock import (
    as_instant,
    as_timezone,
    check_interval,
    daily_changes,
    in_daily_interval,
    timezone_name,
)
from acoupi.components.schedules.duty import DutyCycle
from acoupi.components.schedules.places import (
    Place,
    describe_stand_in,
    find_place,
    place_of_deployment,
    place_of_timezone,
)
from acoupi.components.schedules.preview import preview
from acoupi.components.schedules.sun import (
    SunEvent,
    SunMoment,
    SunTime,
    in_sun_interval,
    is_near_event,
    near_event_changes,
    sun_event,
    sun_interval_changes,
)

__all__ = [
    "DutyCycle",
    "Place",
    "SunEvent",
    "SunMoment",
    "SunTime",
    "as_instant",
    "as_timezone",
    "check_interval",
    "daily_changes",
    "describe_stand_in",
    "find_place",
    "in_daily_interval",
    "in_sun_interval",
    "is_near_event",
    "near_event_changes",
    "place_of_deployment",
    "place_of_timezone",
    "preview",
    "sun_event",
    "sun_interval_changes",
    "timezone_name",
]
