"""The sound cards, as the kernel tells of them: read, never opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from acoupi.audio.devices import identify_all

if TYPE_CHECKING:
    from acoupi.system.doctor.sensor import Machine

__all__ = ["CaptureDevice", "list_capture_devices"]

_CARD = re.compile(r"^\s*(\d+) \[(.*?)\s*\]: (.*?) - (.*)$", re.MULTILINE)
_STREAM = re.compile(r"pcm(\d+)c$")
_RATES = re.compile(r"^\s*Rates: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class CaptureDevice:
    """A device of a sound card that sound can be captured from."""

    card: int
    device: int
    identity: str
    """As `acoupi.audio.devices` tells microphones apart."""
    name: str
    """As PortAudio shows it: card, device and ``(hw:card,device)``."""
    node: Path
    """Device file."""
    owner: int | None
    """Process that captures from it now."""
    rates: str
    """Rates that a USB device says it takes; empty for others."""

    def fits(self, name: str) -> bool:
        """Tell whether ``microphone.device_name`` means this device."""
        folded = name.casefold()
        return folded in self.identity.casefold() or folded in self.name.casefold()


def list_capture_devices(machine: Machine) -> list[CaptureDevice]:
    """Return every capture device of the machine's sound cards."""
    found = list(_found(machine))
    identities = identify_all(
        [device.name for device in found], machine.path("sys/class/sound")
    )
    return [
        CaptureDevice(**{**vars(device), "identity": identity})
        for device, identity in zip(found, identities, strict=True)
    ]


def _found(machine: Machine) -> Iterator[CaptureDevice]:
    cards = machine.read("proc/asound/cards") or ""
    for number, _, _, card_name in _CARD.findall(cards):
        directory = machine.path(f"proc/asound/card{number}")
        for stream in sorted(directory.glob("pcm*c")):
            match = _STREAM.search(stream.name)
            if match is None:
                continue
            where = f"proc/asound/card{number}/{stream.name}"
            info = machine.read(f"{where}/info") or ""
            named = re.search(r"^name: (.*)$", info, re.MULTILINE)
            rates = _RATES.findall(
                machine.read(f"proc/asound/card{number}/stream0") or ""
            )
            device = match[1]
            yield CaptureDevice(
                card=int(number),
                device=int(device),
                identity="",
                name=f"{card_name}: {named[1] if named else ''} (hw:{number},{device})",
                node=machine.path(f"dev/snd/pcmC{number}D{device}c"),
                owner=_owner(machine, where),
                rates=rates[-1] if rates else "",
            )


def _owner(machine: Machine, where: str) -> int | None:
    for status in sorted(machine.path(where).glob("sub*/status")):
        try:
            match = re.search(r"^owner_pid\s*: (\d+)", status.read_text(), re.MULTILINE)
        except OSError:
            continue
        if match:
            return int(match[1])
    return None
