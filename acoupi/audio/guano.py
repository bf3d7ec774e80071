"""GUANO metadata: who recorded what, where and when, inside the sound file itself.

Format: GUANO 1.0, UTF-8 lines ``Key: value``, version first; keys of a maker are
prefixed ``Namespace|``. Source: the specification in github.com/riggsd/guano-spec.
A sound file alone is enough to find out which recording and deployment it belongs to.
"""

from __future__ import annotations

import datetime
import json
import math
import uuid
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Self

from acoupi import data

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Guano"]

VERSION_KEY = "GUANO|Version"
VERSION = "1.0"
MULTILINE_KEYS = frozenset({"Note"})
WHITESPACE = " \t\n\x0b\x0c\r\0"
"""What is trimmed around keys and values."""


class Guano(MutableMapping[str, str]):
    """The metadata of one sound file: keys to values, both text, in order.

    Whitespace around keys and values is trimmed; an empty value means that the key
    is absent. ``GUANO|Version`` is always there and always first.

    Parameters
    ----------
    fields
        Initial keys and values; values are turned into text.

    Raises
    ------
    ValueError
        If a key is empty or holds a colon or a line end.
    """

    def __init__(self, fields: Mapping[str, object] | None = None) -> None:
        self._fields: dict[str, str] = {VERSION_KEY: VERSION}
        for key, value in (fields or {}).items():
            self[key] = str(value)

    def __getitem__(self, key: str) -> str:
        return self._fields[_normal_key(key)]

    def __setitem__(self, key: str, value: str) -> None:
        key = _normal_key(key)
        if not key or ":" in key or "\n" in key:
            raise ValueError(f"{key!r} cannot be a GUANO key: colon, line end or empty")
        if key not in MULTILINE_KEYS:
            # Only multi-line fields may be escaped; elsewhere a line end is a blank.
            value = value.replace("\n", " ")
        value = value.strip(WHITESPACE)
        if value:
            self._fields[key] = value
        elif key == VERSION_KEY:
            self._fields[key] = VERSION
        else:
            self._fields.pop(key, None)

    def __delitem__(self, key: str) -> None:
        key = _normal_key(key)
        del self._fields[key]
        if key == VERSION_KEY:
            self._fields = {VERSION_KEY: VERSION, **self._fields}

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Guano({self._fields!r})"

    @classmethod
    def parse(cls, content: bytes | str) -> Self:
        """Read metadata, leniently: lines that are not ``key: value`` are skipped.

        Bytes that are not UTF-8 are read as Latin-1; a key that occurs twice keeps
        its last value. Never raises.
        """
        if isinstance(content, bytes):
            try:
                content = content.decode("utf-8-sig")
            except UnicodeDecodeError:
                content = content.decode("latin-1")
        parsed = cls()
        for line in content.split("\n"):
            key, colon, value = line.partition(":")
            key = _normal_key(key)
            if not colon or not key:
                continue
            if key in MULTILINE_KEYS:
                value = value.replace("\\n", "\n")
            parsed[key] = value
        return parsed

    def format(self) -> str:
        r"""Return the metadata as text, version first, each line ended by ``\n``."""
        return "".join(
            f"{key}: {value.replace(chr(10), chr(92) + 'n')}\n"
            for key, value in self._fields.items()
        )

    def encode(self) -> bytes:
        """Return the metadata as UTF-8; what cannot be encoded becomes ``?``."""
        return self.format().encode("utf-8", "replace")

    @classmethod
    def for_recording(cls, recording: data.Recording) -> Self:
        """Describe a recording: standard fields, and ours under ``Acoupi|``.

        `to_recording` is the inverse. ``Samplerate`` and ``Length`` are those of the
        sound before time expansion, as the standard wants it.
        """
        expansion = recording.time_expansion or 1
        deployment = recording.deployment
        fields: dict[str, object] = {
            "Timestamp": _format_time(recording.created_on),
            "Samplerate": round(recording.samplerate * expansion),
            "Length": recording.duration / expansion,
            "TE": _format_number(expansion),
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
            "Acoupi|Deployment Name": _quote(deployment.name),
            "Acoupi|Deployment Started": _format_time(deployment.started_on),
        }
        if deployment.ended_on is not None:
            fields["Acoupi|Deployment Ended"] = _format_time(deployment.ended_on)
        if capture is not None:
            fields |= _describe_capture(capture)
        return cls(fields)

    def to_recording(
        self,
        *,
        path: Path | None,
        frames: int,
        samplerate: int,
        channels: int,
        deployment: data.Deployment | None = None,
        created_on: datetime.datetime | None = None,
    ) -> data.Recording:
        """Rebuild the recording that the metadata and the sound tell of.

        Parameters
        ----------
        path
            The sound file.
        frames, samplerate, channels
            What the sound file holds, at least one frame; they win over the metadata.
        deployment
            Taken when the metadata name none. A nameless one is made otherwise.
        created_on
            Time of the first sample, taken when the metadata tell none; then now.

        Returns
        -------
        data.Recording
            Without an ID of its own in the metadata it gets a new one. Fields that
            cannot be understood count as absent.
        """
        started = self.timestamp or created_on or data.utc_now()
        return data.Recording(
            id=_uuid(self.get("Acoupi|Recording ID")) or uuid.uuid4(),
            created_on=started,
            duration=frames / samplerate,
            samplerate=samplerate,
            audio_channels=channels,
            time_expansion=self.time_expansion,
            path=path,
            deployment=self._deployment(started)
            or deployment
            or data.Deployment(name="unknown", started_on=started),
            capture=self._capture(),
        )

    @property
    def timestamp(self) -> datetime.datetime | None:
        """Time of the first sample in UTC; one without an offset is taken as UTC."""
        return _parse_time(self.get("Timestamp"))

    @property
    def time_expansion(self) -> float:
        """Factor by which the sound in the file is slowed down; 1 when not told."""
        return _positive(self.get("TE")) or 1

    @property
    def recording_id(self) -> uuid.UUID | None:
        """The recording's identity, when acoupi wrote the file."""
        return _uuid(self.get("Acoupi|Recording ID"))

    @property
    def position(self) -> tuple[float, float] | None:
        """Degrees north and east, when both are there and on the globe."""
        parts = self.get("Loc Position", "").split()
        numbers = [_number(part) for part in parts]
        if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
            return None
        latitude, longitude = numbers[0], numbers[1]
        if abs(latitude) > 90 or abs(longitude) > 180:
            return None
        return latitude, longitude

    def _deployment(self, started: datetime.datetime) -> data.Deployment | None:
        identity = _uuid(self.get("Acoupi|Deployment ID"))
        if identity is None:
            return None
        latitude, longitude = self.position or (None, None)
        return data.Deployment(
            id=identity,
            name=_unquote(self.get("Acoupi|Deployment Name", "unknown")),
            latitude=latitude,
            longitude=longitude,
            started_on=_parse_time(self.get("Acoupi|Deployment Started")) or started,
            ended_on=_parse_time(self.get("Acoupi|Deployment Ended")),
        )

    def _capture(self) -> data.CaptureReport | None:
        first = _count(self.get("Acoupi|First Frame", ""))
        if first is None:
            return None
        clipped = _number(self.get("Acoupi|Clipped"))
        return data.CaptureReport(
            device=_unquote(self["Acoupi|Device"]) if "Acoupi|Device" in self else None,
            first_frame=first,
            gaps=_parse_gaps(self.get("Acoupi|Gaps", "")),
            peak_dbfs=_number(self.get("Acoupi|Peak dBFS")),
            level_dbfs=_number(self.get("Acoupi|Level dBFS")),
            clipped=clipped if clipped is not None and 0 <= clipped <= 1 else None,
            clock=self._clock(),
        )

    def _clock(self) -> data.ClockState | None:
        boot_id = self.get("Acoupi|Clock Boot ID")
        monotonic = _number(self.get("Acoupi|Clock Monotonic"))
        if boot_id is None or monotonic is None:
            return None
        return data.ClockState(
            synchronised=self.get("Acoupi|Clock Synchronised") == "yes",
            boot_id=boot_id,
            monotonic=monotonic,
            corrected=self.get("Acoupi|Clock Corrected") == "yes",
        )


def _describe_capture(capture: data.CaptureReport) -> dict[str, object]:
    fields: dict[str, object] = {}
    if capture.device is not None:
        fields["Acoupi|Device"] = _quote(capture.device)
    fields["Acoupi|First Frame"] = capture.first_frame
    fields["Acoupi|Samples Lost"] = capture.samples_lost
    if capture.gaps:
        fields["Acoupi|Gaps"] = " ".join(f"{gap.at}+{gap.lost}" for gap in capture.gaps)
    for key, value in (
        ("Acoupi|Peak dBFS", capture.peak_dbfs),
        ("Acoupi|Level dBFS", capture.level_dbfs),
        ("Acoupi|Clipped", capture.clipped),
    ):
        if value is not None and math.isfinite(value):
            fields[key] = value
    if capture.clock is not None:
        fields |= {
            "Acoupi|Clock Synchronised": "yes" if capture.clock.synchronised else "no",
            "Acoupi|Clock Boot ID": capture.clock.boot_id,
            "Acoupi|Clock Monotonic": capture.clock.monotonic,
            "Acoupi|Clock Corrected": "yes" if capture.clock.corrected else "no",
        }
    return fields


def _normal_key(key: str) -> str:
    return "|".join(part.strip(WHITESPACE) for part in key.split("|"))


def _quote(text: str) -> str:
    # Names chosen by people come back exactly, whatever whitespace they hold.
    plain = text == text.strip(WHITESPACE) and "\n" not in text and text != ""
    return text if plain and not text.startswith('"') else json.dumps(text)


def _unquote(text: str) -> str:
    if text.startswith('"'):
        try:
            decoded = str(json.loads(text))
        except (ValueError, RecursionError):
            return text
        return decoded.encode("utf-8", "replace").decode()
    return text


def _format_time(time: datetime.datetime) -> str:
    utc = time.astimezone(datetime.UTC).replace(tzinfo=None)
    return utc.isoformat(timespec="microseconds") + "Z"


def _parse_time(text: str | None) -> datetime.datetime | None:
    if text is None:
        return None
    try:
        time = datetime.datetime.fromisoformat(text)
        if time.tzinfo is None:
            return time.replace(tzinfo=datetime.UTC)
        return time.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return None


def _format_number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _positive(text: str | None) -> float | None:
    value = _number(text)
    return value if value is not None and value > 0 else None


def _count(text: str) -> int | None:
    # Longer than any count of samples: not a number we wrote.
    return int(text) if text.isdecimal() and len(text) <= 18 else None


def _uuid(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text is not None else None
    except ValueError:
        return None


def _parse_gaps(text: str) -> tuple[data.SampleGap, ...]:
    gaps = []
    for part in text.split():
        at, _, lost = (_count(number) for number in part.partition("+"))
        if at is not None and lost:
            gaps.append(data.SampleGap(at=at, lost=lost))
    return tuple(gaps)
