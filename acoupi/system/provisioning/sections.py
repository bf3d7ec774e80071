"""The sections of ``acoupi.toml``, except those that the program defines."""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from acoupi.system.provisioning.document import MARKER

__all__ = [
    "SECTIONS",
    "DeploymentSection",
    "DeviceSection",
    "HotspotSection",
    "ProgramSection",
    "WifiNetwork",
]

_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_KEY_TYPES = re.compile(
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)"
    r"|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class DeviceSection(_Section):
    """What the device is called, and who may enter."""

    name: str | None = Field(default=None, description="Name in the network.")
    timezone: str | None = Field(default=None, description="IANA time zone.")
    country: str | None = Field(
        default=None, description="Two letters, for the radio channels allowed there."
    )
    ssh_key: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default=[], max_length=50, description="Public keys that may log in."
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str | None) -> str | None:
        if value is None or _HOST_NAME.fullmatch(value):
            return value
        plain = re.sub(r"[^A-Za-z0-9]+", "-", value)[:63].strip("-")
        hint = f", as {plain!r}" if plain else ""
        raise ValueError(f"must be letters, digits and hyphens, at most 63{hint}")

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str | None) -> str | None:
        import zoneinfo

        known = zoneinfo.available_timezones()
        if value is None or value in known:
            return value
        by_place = {name.rpartition("/")[2].lower(): name for name in sorted(known)}
        wanted = re.sub(r"[\s_]+", "_", value.strip())
        close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.7)
        place = difflib.get_close_matches(
            wanted.rpartition("/")[2].lower(), by_place, n=1, cutoff=0.7
        )
        meant = close or [by_place[name] for name in place]
        hint = f"; did you mean {meant[0]!r}?" if meant else ""
        raise ValueError(f"must be a time zone, as 'Europe/London' or 'UTC'{hint}")

    @field_validator("country")
    @classmethod
    def _check_country(cls, value: str | None) -> str | None:
        if value is None or re.fullmatch(r"[A-Za-z]{2}", value):
            return value and value.upper()
        raise ValueError("must be the two letters of a country, as 'GB' or 'DE'")

    @field_validator("ssh_key")
    @classmethod
    def _check_keys(cls, value: list[str]) -> list[str]:
        return [_check_key(key.strip()) for key in value]


def _check_key(key: str) -> str:
    # Neither message repeats what may be a private key.
    if "PRIVATE KEY" in key:
        raise ValueError(
            "this is a private key: remove it from this card and make a new pair; the "
            "public key is in the file that ends in .pub"
        )
    parts = key.split(None, 2)
    wrong = "must be one line of a file that ends in .pub, as 'ssh-ed25519 AAAA... me'"
    if len(parts) < 2 or not key.isprintable() or not _KEY_TYPES.fullmatch(parts[0]):
        raise ValueError(wrong)
    try:
        content = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{wrong}; this one was not copied whole") from None
    # RFC 4253, section 6.6: the type again, after its length.
    if content[4 : 4 + len(parts[0])] != parts[0].encode():
        raise ValueError(f"{wrong}; this one was not copied whole")
    return key


def _check_wifi_password(value: SecretStr | None) -> SecretStr | None:
    # IEEE 802.11i, H.4: 8 to 63 printable characters, or the 256-bit key itself.
    text = value.get_secret_value() if value is not None else None
    if text == MARKER:
        raise ValueError("this is not kept on the sensor: write it in the file again")
    if text is None or re.fullmatch(r"[ -~]{8,63}|[0-9A-Fa-f]{64}", text):
        return value
    raise ValueError(
        "must have 8 to 63 characters, without accents (a network without a password "
        "has no such line)"
    )


class WifiNetwork(_Section):
    """A wireless network to join."""

    name: str = Field(description="Its name (SSID), exactly as phones show it.")
    password: SecretStr | None = Field(
        default=None, description="Its password; leave it out for an open network."
    )
    hidden: bool = Field(
        default=False, description="Whether the network hides its name."
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if 1 <= len(value.encode()) <= 32:
            return value
        raise ValueError("must have 1 to 32 bytes")

    _check_password = field_validator("password")(_check_wifi_password)


class HotspotSection(_Section):
    """The sensor's own network, when there is no other."""

    enabled: bool = Field(default=True, description="Whether there is one.")
    password: SecretStr | None = Field(
        default=None, description="Its password; default: a random one."
    )

    _check_password = field_validator("password")(_check_wifi_password)


class ProgramSection(_Section):
    """What the sensor runs."""

    name: str | None = Field(default=None, description="Name or dotted module.")


class DeploymentSection(_Section):
    """Where the sensor stands."""

    name: str = Field(min_length=1, max_length=200, description="Any name.")
    latitude: float | None = Field(
        default=None, ge=-90, le=90, description="Degrees north."
    )
    longitude: float | None = Field(
        default=None, ge=-180, le=180, description="Degrees east."
    )

    @model_validator(mode="after")
    def _check_place(self) -> DeploymentSection:
        if (self.latitude is None) != (self.longitude is None):
            raise ValueError("a place needs both latitude and longitude, or neither")
        return self


SECTIONS = (
    "device",
    "wifi",
    "hotspot",
    "program",
    "settings",
    "deployment",
    "mqtt",
    "http",
)
"""Names of all sections; ``settings``, ``mqtt`` and ``http`` are the program's."""
