"""The clock and the time zone: recordings carry what they say."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator

from acoupi.system.doctor.findings import Finding, error, warning
from acoupi.system.doctor.sensor import Sensor

__all__ = ["probe"]

EARLIEST = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
"""Before this there was no acoupi: a clock that says so was never set."""

TIME_TO_SET = 600.0
"""Seconds after the start of the machine in which the clock may still be set."""

AHEAD = datetime.timedelta(hours=1)
"""How far in the future a recording may seem to be before the clock is doubted."""

_SET = (
    "connect the sensor to a network with a time server once (`timedatectl` shows "
    "whether it is used), fit a clock module (RTC), or set it by hand: "
    "`sudo timedatectl set-time 'YYYY-MM-DD HH:MM:SS'`"
)


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the clock."""
    machine = sensor.machine
    now = machine.now()
    if now < EARLIEST:
        yield error(
            "clock-never-set",
            "The clock was never set.",
            f"it says {now:%Y-%m-%d %H:%M} UTC",
            f"{_SET}. Recordings are corrected when that happens in this boot",
        )
    elif not machine.clock_is_set() and machine.uptime() > TIME_TO_SET:
        yield warning(
            "clock-not-synchronised",
            "The clock is not known to be right.",
            f"{machine.uptime() / 60:.0f} minutes after the start no time server has "
            "set it",
            _SET,
        )
    last = _last_recording(sensor)
    if last is not None and last > now + AHEAD:
        yield error(
            "clock-went-back",
            "The clock is behind the last recording.",
            f"it says {now:%Y-%m-%d %H:%M} UTC, the last recording is of "
            f"{last:%Y-%m-%d %H:%M} UTC",
            _SET,
        )
    yield from _probe_zones(sensor)


def _last_recording(sensor: Sensor) -> datetime.datetime | None:
    reported = (sensor.recorder or {}).get("last_recording_on")
    try:
        moment = datetime.datetime.fromisoformat(str(reported))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _probe_zones(sensor: Sensor) -> Iterator[Finding]:
    for file, name in (
        (sensor.settings.program_file, sensor.setting("timezone")),
        (sensor.settings.celery_file, sensor.celery.get("timezone")),
    ):
        if not isinstance(name, str):
            continue
        try:
            zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            yield error(
                "timezone-unknown",
                "The sensor's time zone is not known on this machine.",
                f"timezone is {name!r} in {file}",
                "use an IANA name such as Europe/London; when the name is right, "
                "install the database: apt install tzdata",
            )
