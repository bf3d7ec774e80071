"""GUANO metadata: who recorded what, where and when, inside the sound file itself.

Format: GUANO 1.0, UTF-8 lines ``Key: value``, version first; keys of a maker are
prefixed ``Namespace|``. Source: the specification in github.com/riggsd/guano-spec.
A sound file alone is enough to find out which recording and deployment it belongs to.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Self

from acoupi import data
from acoupi.audio.guano_fields import (
    WHITESPACE,
    capture_of,
    deployment_of,
    describe_recording,
    parse_position,
    parse_positive,
    parse_time,
    parse_uuid,
)

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Guano"]

VERSION_KEY = "GUANO|Version"
VERSION = "1.0"
MULTILINE_KEYS = frozenset({"Note"})


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
        text = content if isinstance(content, str) else _decode(content)
        parsed = cls()
        for line in text.split("\n"):
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
        return cls(describe_recording(recording))

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
            id=parse_uuid(self.get("Acoupi|Recording ID")) or uuid.uuid4(),
            created_on=started,
            duration=frames / samplerate,
            samplerate=samplerate,
            audio_channels=channels,
            time_expansion=self.time_expansion,
            path=path,
            deployment=deployment_of(self, started)
            or deployment
            or data.Deployment(name="unknown", started_on=started),
            capture=capture_of(self),
        )

    def correct_time(self, recording: data.Recording) -> None:
        """Take over a recording's time and what is known of its clock.

        All other fields stay as they are.
        """
        fields = describe_recording(recording)
        for key, value in fields.items():
            if key == "Timestamp" or key.startswith("Acoupi|Clock "):
                self[key] = str(value)

    @property
    def timestamp(self) -> datetime.datetime | None:
        """Time of the first sample in UTC; one without an offset is taken as UTC."""
        return parse_time(self.get("Timestamp"))

    @property
    def time_expansion(self) -> float:
        """Factor by which the sound in the file is slowed down; 1 when not told."""
        return parse_positive(self.get("TE")) or 1

    @property
    def recording_id(self) -> uuid.UUID | None:
        """The recording's identity, when acoupi wrote the file."""
        return parse_uuid(self.get("Acoupi|Recording ID"))

    @property
    def position(self) -> tuple[float, float] | None:
        """Degrees north and east, when both are there and on the globe."""
        return parse_position(self.get("Loc Position"))


def _normal_key(key: str) -> str:
    return "|".join(part.strip(WHITESPACE) for part in key.split("|"))


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
