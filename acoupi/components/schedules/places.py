"""Where the sun is watched from: the deployment, or what stands in for it.

The coordinates of the deployment, when it has both. Otherwise the reference place
that the IANA time zone database gives for the time zone (its ``zone.tab``: for
``Europe/London`` 51.51 N 0.13 W), which can be hundreds of kilometres and half an
hour off. Otherwise (``UTC``, fixed offsets) the equator at 15 degrees of longitude
for each hour of the zone's standard offset: there, dawn and dusk are all year at
their mean time over all latitudes. What stands in is never silent: whoever uses it
says so (`describe_stand_in`), with the remedy.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal

from acoupi.components.schedules.clock import timezone_name

if TYPE_CHECKING:
    from acoupi import data

__all__ = [
    "Place",
    "describe_stand_in",
    "find_place",
    "place_of_deployment",
    "place_of_timezone",
]

_MEASURED_ON = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
_ISO_6709 = re.compile(r"([+-])(\d{2})(\d{2})(\d{2})?([+-])(\d{3})(\d{2})(\d{2})?")


@dataclass(frozen=True, slots=True)
class Place:
    """A place on Earth, and how it is known."""

    latitude: float
    """Degrees north, [-90, 90]."""
    longitude: float
    """Degrees east, [-180, 180]."""
    origin: Literal["deployment", "timezone", "offset"] = "deployment"
    """The deployment's coordinates, the time zone's reference place, or only the
    longitude of the time zone's offset."""


def find_place(deployment: data.Deployment | None, timezone: datetime.tzinfo) -> Place:
    """Return the place of the deployment, or what stands in for it."""
    place = None if deployment is None else place_of_deployment(deployment)
    return place or place_of_timezone(timezone)


def place_of_deployment(deployment: data.Deployment) -> Place | None:
    """Return the deployment's coordinates; None unless it has both."""
    if deployment.latitude is None or deployment.longitude is None:
        return None
    return Place(deployment.latitude, deployment.longitude)


def place_of_timezone(timezone: datetime.tzinfo) -> Place:
    """Return the place that stands in where only the time zone is known."""
    return _reference_place(timezone_name(timezone)) or _place_of_offset(timezone)


def describe_stand_in(place: Place, timezone: datetime.tzinfo) -> str:
    """Say, for people, what stands in for missing coordinates, and the remedy."""
    kind = {
        "timezone": "the reference place of the time zone",
        "offset": "the equator at the longitude of the time zone",
        "deployment": "the place given",
    }[place.origin]
    return (
        "The deployment has no coordinates: the sun is computed for "
        f"{kind} {timezone_name(timezone)} (latitude {place.latitude:.2f}, longitude "
        f"{place.longitude:.2f}), which can be well over half an hour off. Give the "
        "deployment its latitude and longitude: 'acoupi deployment start --help'."
    )


@functools.lru_cache(maxsize=64)
def _reference_place(name: str) -> Place | None:
    """Look a zone up in the IANA database's ``zone.tab``, following its links."""
    import pytz

    # The stubs lack it; distributions patch it to read the system's database.
    open_resource: Callable[[str], BinaryIO] = vars(pytz)["open_resource"]
    wanted = {name}
    try:
        with open_resource("tzdata.zi") as links:
            for line in links:
                # "L target alias": https://man7.org/linux/man-pages/man8/zic.8.html
                if line.startswith(b"L "):
                    _, target, alias = line.decode().split()
                    if alias == name:
                        wanted.add(target)
    except (OSError, ValueError):
        # Some distributions ship the database without its source.
        pass
    try:
        with open_resource("zone.tab") as table:
            for line in table:
                fields = line.decode().rstrip("\n").split("\t")
                if len(fields) >= 3 and fields[2] in wanted:
                    return _parse_iso_6709(fields[1])
    except OSError:
        return None
    return None


def _parse_iso_6709(text: str) -> Place | None:
    """Parse ±DDMM±DDDMM or ±DDMMSS±DDDMMSS, as in ``zone.tab``."""
    match = _ISO_6709.fullmatch(text)
    if match is None:
        return None

    def degrees(sign: str, whole: str, minutes: str, seconds: str | None) -> float:
        value = int(whole) + int(minutes) / 60 + int(seconds or 0) / 3600
        return -value if sign == "-" else value

    parts = match.groups()
    return Place(degrees(*parts[:4]), degrees(*parts[4:]), "timezone")


def _place_of_offset(timezone: datetime.tzinfo) -> Place:
    local = _MEASURED_ON.astimezone(timezone)
    zero = datetime.timedelta(0)
    standard = (local.utcoffset() or zero) - (local.dst() or zero)
    degrees = standard / datetime.timedelta(hours=1) * 15
    return Place(0.0, (degrees + 180) % 360 - 180, "offset")
