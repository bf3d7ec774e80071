"""Networks as NetworkManager's keyfiles (nm-settings-keyfile(5))."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoupi.system.provisioning.sections import WifiNetwork

__all__ = ["HOTSPOT_ADDRESS", "HOTSPOT_FILE", "hotspot", "networks", "new_password"]

HOTSPOT_ADDRESS = "10.42.0.1"
"""Address of the sensor in its own network; NetworkManager's usual one."""

HOTSPOT_FILE = "acoupi-hotspot.nmconnection"

_CLEAR_LETTERS = "abcdefghjkmnpqrstuvwxyz"
"""None that is read as another on a screen: no i, l, o."""


def new_password() -> str:
    """Return a random password that is typed easily on a phone; 54 bits."""
    groups = ("".join(secrets.choice(_CLEAR_LETTERS) for _ in range(4)) for _ in "123")
    return "-".join(groups)


def networks(found: Sequence[WifiNetwork]) -> dict[str, str]:
    """Return the keyfile of each network, by file name; the first is preferred."""
    files: dict[str, str] = {}
    for position, network in enumerate(found):
        # Names of files are made of what any name of a network may hold.
        digest = hashlib.sha256(network.name.encode()).hexdigest()[:12]
        secret = network.password
        password = secret.get_secret_value() if secret else None
        files.setdefault(
            f"acoupi-wifi-{digest}.nmconnection",
            _keyfile(
                f"acoupi-wifi-{digest}",
                network.name,
                password,
                connection=[
                    "autoconnect=true",
                    f"autoconnect-priority={len(found) - position}",
                    # For ever: a router may be off for days.
                    "autoconnect-retries=0",
                ],
                wifi=["mode=infrastructure", f"hidden={str(network.hidden).lower()}"],
                addresses=["[ipv4]", "method=auto", "", "[ipv6]", "method=auto"],
            ),
        )
    return files


def hotspot(name: str, password: str) -> str:
    """Return the keyfile of the sensor's own network; it is started when needed."""
    return _keyfile(
        "acoupi-hotspot",
        name[:32],
        password,
        connection=["autoconnect=false"],
        wifi=["mode=ap", "band=bg"],
        addresses=[
            "[ipv4]",
            "method=shared",
            f"address1={HOTSPOT_ADDRESS}/24",
            "",
            "[ipv6]",
            "method=disabled",
        ],
    )


def _keyfile(
    identity: str,
    name: str,
    password: str | None,
    *,
    connection: list[str],
    wifi: list[str],
    addresses: list[str],
) -> str:
    lines = [
        "[connection]",
        f"id={identity}",
        "type=wifi",
        *connection,
        "",
        "[wifi]",
        # As numbers: a name may hold what means something in this file.
        f"ssid={''.join(f'{byte};' for byte in name.encode())}",
        *wifi,
        "",
    ]
    if password:
        lines += [
            "[wifi-security]",
            "key-mgmt=wpa-psk",
            f"psk={_escape(password)}",
            "",
        ]
    return "\n".join([*lines, *addresses, ""])


def _escape(text: str) -> str:
    escaped = text.replace("\\", "\\\\")
    inner = escaped.lstrip(" ")
    return "\\s" * (len(escaped) - len(inner)) + inner
