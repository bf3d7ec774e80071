"""What the fields of GUANO metadata say of a recording, its deployment and capture.

Reading is lenient: a value that cannot be understood counts as absent.
"""

from __future__ import annotations

import datetime
import json
import math
import uuid
from collections.abc import Mapping

from acoupi import data

WHITESPACE = " \t\n\x0b\x0c\r\0"
"""What is trimmed around keys and values."""


def describe_recording(recording: data.Recording) -> dict[str, object]:
    """Return the standard fields of a recording, and ours under ``Acoupi|``."""
    expansion = recording.time_expansion or 1
    deployment = recording.deployment
    fields: dict[str, object] = {
        "Timestamp": format_time(recording.created_on),
        "Samplerate": round(recording.samplerate * expansion),
        "Length": recording.duration / expansion,
        "TE": format_number(expansion),
        "Make": "acoupi",
    }
    if deployment.latitude is not None and deployment.longitude is not None:
        fields["Loc Position"] = f"{deployment.latitude} {deployment.longitude}"
    capture = recording.capture
    if capture is not None and capture.device is not None:
        fields["Model"] = capture.device
    fields |= {
        "Acoupi|Recording ID": recording.id,
        "Acoupi|Deployment ID": deployment.id,
        "Acoupi|Deployment Name": quote(deployment.name),
        "Acoupi|Deployment Started": format_time(deployment.started_on),
    }
    if deployment.ended_on is not None:
        fields["Acoupi|Deployment Ended"] = format_time(deployment.ended_on)
    if capture is not None:
        fields |= describe_capture(capture)
    return fields


def describe_capture(capture: data.CaptureReport) -> dict[str, object]:
    """Return our fields of how a recording was captured."""
    fields: dict[str, object] = {}
    if capture.device is not None:
        fields["Acoupi|Device"] = quote(capture.device)
    fields["Acoupi|First Frame"] = capture.first_frame
    fields["Acoupi|Samples Lost"] = capture.samples_lost
    if capture.gaps:
        fields["Acoupi|Gaps"] = " ".join(f"{gap.at}+{gap.lost}" for gap in capture.gaps)
    levels = {
        "Acoupi|Peak dBFS": capture.peak_dbfs,
        "Acoupi|Level dBFS": capture.level_dbfs,
        "Acoupi|Clipped": capture.clipped,
    }
    fields |= {
        key: value
        for key, value in levels.items()
        if value is not None and math.isfinite(value)
    }
    if capture.clock is not None:
        fields |= {
            "Acoupi|Clock Synchronised": "yes" if capture.clock.synchronised else "no",
            "Acoupi|Clock Boot ID": capture.clock.boot_id,
            "Acoupi|Clock Monotonic": capture.clock.monotonic,
            "Acoupi|Clock Corrected": "yes" if capture.clock.corrected else "no",
        }
    return fields


def deployment_of(
    fields: Mapping[str, str], started: datetime.datetime
) -> data.Deployment | None:
    """Return the deployment the fields name, None when they name none."""
    identity = parse_uuid(fields.get("Acoupi|Deployment ID"))
    if identity is None:
        return None
    latitude, longitude = parse_position(fields.get("Loc Position")) or (None, None)
    return data.Deployment(
        id=identity,
        name=unquote(fields.get("Acoupi|Deployment Name", "unknown")),
        latitude=latitude,
        longitude=longitude,
        started_on=parse_time(fields.get("Acoupi|Deployment Started")) or started,
        ended_on=parse_time(fields.get("Acoupi|Deployment Ended")),
    )


def capture_of(fields: Mapping[str, str]) -> data.CaptureReport | None:
    """Return how it was captured, None when the fields do not tell."""
    first = parse_count(fields.get("Acoupi|First Frame", ""))
    if first is None:
        return None
    clipped = parse_number(fields.get("Acoupi|Clipped"))
    return data.CaptureReport(
        device=unquote(fields["Acoupi|Device"]) if "Acoupi|Device" in fields else None,
        first_frame=first,
        gaps=parse_gaps(fields.get("Acoupi|Gaps", "")),
        peak_dbfs=parse_number(fields.get("Acoupi|Peak dBFS")),
        level_dbfs=parse_number(fields.get("Acoupi|Level dBFS")),
        clipped=clipped if clipped is not None and 0 <= clipped <= 1 else None,
        clock=clock_of(fields),
    )


def clock_of(fields: Mapping[str, str]) -> data.ClockState | None:
    """Return the state of the clock, None when the fields do not tell."""
    boot_id = fields.get("Acoupi|Clock Boot ID")
    monotonic = parse_number(fields.get("Acoupi|Clock Monotonic"))
    if boot_id is None or monotonic is None:
        return None
    return data.ClockState(
        synchronised=fields.get("Acoupi|Clock Synchronised") == "yes",
        boot_id=boot_id,
        monotonic=monotonic,
        corrected=fields.get("Acoupi|Clock Corrected") == "yes",
    )


def parse_position(text: str | None) -> tuple[float, float] | None:
    """Return degrees north and east, when both are there and on the globe."""
    parts = (text or "").split()
    numbers = [parse_number(part) for part in parts]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return None
    latitude, longitude = numbers[0], numbers[1]
    if abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return latitude, longitude


def quote(text: str) -> str:
    """Return the text in a form that survives trimming."""
    # Names chosen by people come back exactly, whatever whitespace they hold.
    plain = text == text.strip(WHITESPACE) and "\n" not in text and text != ""
    return text if plain and not text.startswith('"') else json.dumps(text)


def unquote(text: str) -> str:
    """Return the text that `quote` was given."""
    if text.startswith('"'):
        try:
            decoded = str(json.loads(text))
        except (ValueError, RecursionError):
            return text
        return decoded.encode("utf-8", "replace").decode()
    return text


def format_time(time: datetime.datetime) -> str:
    """Return a time as GUANO's UTC datetime."""
    utc = data.as_utc(time).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds") + "Z"


def parse_time(text: str | None) -> datetime.datetime | None:
    """Return a time in UTC; one without an offset is taken as UTC."""
    if text is None:
        return None
    try:
        return data.as_utc(datetime.datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def format_number(value: float) -> str:
    """Return a number, without a fraction when it has none."""
    return str(int(value)) if value == int(value) else str(value)


def parse_number(text: str | None) -> float | None:
    """Return a finite number."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def parse_positive(text: str | None) -> float | None:
    """Return a finite number above 0."""
    value = parse_number(text)
    return value if value is not None and value > 0 else None


def parse_count(text: str) -> int | None:
    """Return a count of samples."""
    # Longer than any count of samples: not a number we wrote.
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def parse_uuid(text: str | None) -> uuid.UUID | None:
    """Return an identity."""
    try:
        return uuid.UUID(text) if text is not None else None
    except ValueError:
        return None


def parse_gaps(text: str) -> tuple[data.SampleGap, ...]:
    """Return the gaps written as ``at+lost at+lost``."""
    gaps = []
    for part in text.split():
        at, _, lost = (parse_count(number) for number in part.partition("+"))
        if at is not None and lost:
            gaps.append(data.SampleGap(at=at, lost=lost))
    return tuple(gaps)
