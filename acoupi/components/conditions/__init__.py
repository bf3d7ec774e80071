"""When to record: daily windows, the sun, duty cycles, free space.

A program's conditions are ANDed. Each is asked with the time at which a recording
would start, naive (UTC) or aware, or without one for the current time; each time
condition also tells when its answer can change (``changes``), which makes
`acoupi.components.schedules.preview` exact.
"""

from __future__ import annotations

from acoupi.components.conditions.clock import (
    IsInDutyCycle,
    IsInInterval,
    IsInIntervals,
)
from acoupi.components.conditions.space import HasSufficientSpace
from acoupi.components.conditions.sun import (
    DawnTimeInterval,
    DuskTimeInterval,
    IsInSunInterval,
    IsNearSunEvent,
    SunriseTimeInterval,
    SunsetTimeInterval,
)

__all__ = [
    "DawnTimeInterval",
    "DuskTimeInterval",
    "HasSufficientSpace",
    "IsInDutyCycle",
    "IsInInterval",
    "IsInIntervals",
    "IsInSunInterval",
    "IsNearSunEvent",
    "SunriseTimeInterval",
    "SunsetTimeInterval",
]
