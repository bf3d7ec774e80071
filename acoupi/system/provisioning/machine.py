"""What the report says of the machine: addresses, microphones, space, clock."""

from __future__ import annotations

import datetime
import ipaddress
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from acoupi.data import utc_now

if TYPE_CHECKING:
    from acoupi.system.settings import Settings

__all__ = ["Machine", "observe"]

_ASOUND = Path("/proc/asound")
_DESCRIPTION = re.compile(r"^\s*(\d+)\s*\[[^\]]*\]:\s*(.+)$")


@dataclass(frozen=True)
class Machine:
    """A machine at a moment."""

    now: datetime.datetime
    clock_is_set: bool | None
    """None when that is not known."""
    addresses: list[tuple[str, str]] = field(default_factory=list)
    """Interface and address."""
    microphones: list[str] = field(default_factory=list)
    """Sound cards that record."""
    free_bytes: int | None = None
    total_bytes: int | None = None
    recording: bool | None = None
    """Whether the recorder runs; None when it has not reported."""


def observe(settings: Settings, asound: Path = _ASOUND) -> Machine:
    """Look at this machine, passively: no sound device is opened."""
    from acoupi.components.health import (
        clock_state,
        read_recorder_status,
        takes_sound_in,
    )

    free = total = None
    try:
        usage = shutil.disk_usage(settings.home)
        free, total = usage.free, usage.total
    except OSError:
        pass
    status = read_recorder_status(settings.run_dir / "recorder.json")
    current = status is not None and status["current"]
    return Machine(
        now=utc_now(),
        clock_is_set=clock_state().synchronised,
        addresses=_addresses(),
        microphones=_microphones(asound),
        free_bytes=free,
        total_bytes=total,
        recording=takes_sound_in(status) if status and current else None,
    )


def _addresses() -> list[tuple[str, str]]:
    import psutil

    found: list[tuple[str, str]] = []
    try:
        interfaces = psutil.net_if_addrs()
    except OSError:
        return found  # confined as at boot, when there is no network yet
    for interface, entries in sorted(interfaces.items()):
        for entry in entries:
            try:
                address = ipaddress.ip_address(entry.address.partition("%")[0])
            except ValueError:
                continue  # that of the hardware
            if not (address.is_loopback or address.is_link_local):
                found.append((interface, str(address)))
    return found


def _microphones(asound: Path) -> list[str]:
    try:
        text = (asound / "cards").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        card = _DESCRIPTION.match(line)
        if card and any((asound / f"card{card[1]}").glob("pcm*c")):
            found.append(card[2].rpartition(" - ")[2].strip())
    return found
