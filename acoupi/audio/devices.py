"""Which microphones there are, and how to find one again.

A microphone's identity is what stays the same when it is plugged in again or the
machine restarts: for a USB device its vendor, product and serial number (or the port,
when it has no serial number), for another card its identifier, for a virtual device
its name. Never an index, and never ALSA's card number, which both change.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acoupi.audio.sources import SourceError

__all__ = [
    "COMMON_SAMPLERATES",
    "Microphone",
    "MicrophoneNotFound",
    "choose_microphone",
    "find_microphone",
    "list_microphones",
    "refresh",
]

COMMON_SAMPLERATES = (
    8000,
    16000,
    22050,
    32000,
    44100,
    48000,
    96000,
    192000,
    250000,
    256000,
    384000,
    500000,
)
"""Rates, in Hz, that microphones are asked about."""

SOUND_CLASS = Path("/sys/class/sound")
"""Where the Linux kernel describes sound cards."""

_ALSA_HARDWARE = re.compile(r"\s*\(hw:(\d+),(\d+)\)\s*$")


@dataclass(frozen=True)
class Microphone:
    """A device that sound can be captured from."""

    identity: str
    """Names it for ever: after a replug, after a restart."""
    name: str
    index: int
    """PortAudio's number; means nothing after the devices were listed again."""
    channels: int
    """Most channels it captures."""
    samplerates: tuple[int, ...]
    """Rates of `COMMON_SAMPLERATES` it takes, in Hz; empty when not asked."""
    default_samplerate: int
    host_api: str

    @property
    def is_hardware(self) -> bool:
        """Whether it is opened without a sound server between."""
        return _ALSA_HARDWARE.search(self.name) is not None


class MicrophoneNotFound(SourceError):  # noqa: N818  (reads as what it is)
    """There is no such microphone, or more than one."""


def refresh() -> None:
    """Make PortAudio look for devices again; no stream may be open."""
    import sounddevice

    # PortAudio lists devices once, when it is initialised: without this a microphone
    # that was plugged in later, or again, is never seen.
    sounddevice._terminate()
    sounddevice._initialize()


def list_microphones(*, probe: bool = True) -> list[Microphone]:
    """Return every device that captures sound.

    Parameters
    ----------
    probe
        Whether to ask each for the rates it takes, which opens it for a moment.

    Raises
    ------
    MicrophoneNotFound
        When the PortAudio library is missing.
    """
    try:
        import sounddevice
    except OSError as error:
        raise MicrophoneNotFound(
            f"the PortAudio library cannot be loaded ({error}): install it, on Debian "
            "with: apt install libportaudio2"
        ) from None
    host_apis = [str(api["name"]) for api in sounddevice.query_hostapis()]
    devices = [
        (index, device)
        for index, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"] > 0
    ]
    identities = identify_all([device["name"] for _, device in devices])
    microphones = []
    for (index, device), identity in zip(devices, identities, strict=True):
        microphones.append(
            Microphone(
                identity=identity,
                name=device["name"],
                index=index,
                channels=device["max_input_channels"],
                samplerates=_probe(sounddevice, index) if probe else (),
                default_samplerate=round(device["default_samplerate"]),
                host_api=host_apis[device["hostapi"]],
            )
        )
    return microphones


def find_microphone(name: str, *, probe: bool = False) -> Microphone:
    """Return the microphone that ``name`` means.

    Parameters
    ----------
    name
        An identity, a name or a part of one of them; ``"default"`` means the system's
        default device.
    probe
        Whether to ask it for the rates it takes.

    Raises
    ------
    MicrophoneNotFound
        When none or more than one fits; the message lists what there is.
    """
    microphones = list_microphones(probe=probe)
    if name == "default":
        import sounddevice

        index = sounddevice.default.device["input"]
        for microphone in microphones:
            if microphone.index == index:
                return microphone
    return choose_microphone(name, microphones)


def choose_microphone(name: str, microphones: list[Microphone]) -> Microphone:
    """Return the one microphone that has this identity, name, or part of one of them.

    Raises
    ------
    MicrophoneNotFound
        When none or more than one fits; the message lists what there is.
    """
    folded = name.casefold()
    for fits in (
        [m for m in microphones if m.identity == name],
        [m for m in microphones if m.name == name],
        [
            m
            for m in microphones
            if folded in m.name.casefold() or folded in m.identity.casefold()
        ],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise MicrophoneNotFound(
                f"microphone.device_name: {name!r} fits more than one microphone; use "
                f"the identity of one: {_describe(fits)}"
            )
    if not microphones:
        raise MicrophoneNotFound(
            f"microphone.device_name: {name!r} is not there: the system has no "
            "microphone at all; plug one in, or set microphone.source to signal, file "
            "or folder to run without"
        )
    names = [m.name for m in microphones] + [m.identity for m in microphones]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise MicrophoneNotFound(
        f"microphone.device_name: {name!r} is not there{hint} There "
        f"{'is' if len(microphones) == 1 else 'are'}: {_describe(microphones)}"
    )


def identify_all(names: list[str], sound_class: Path = SOUND_CLASS) -> list[str]:
    """Return an identity for each of PortAudio's names, all different if possible.

    Cheap devices share one serial number: those are told apart by their ports.
    """
    identities = [identify(name, sound_class) for name in names]
    return [
        identify(name, sound_class, by_port=True)
        if identities.count(identity) > 1
        else identity
        for name, identity in zip(names, identities, strict=True)
    ]


def identify(
    name: str, sound_class: Path = SOUND_CLASS, *, by_port: bool = False
) -> str:
    """Return what stays the same about a device that PortAudio calls ``name``.

    Parameters
    ----------
    name
        PortAudio's name; for ALSA hardware it ends in ``(hw:<card>,<device>)``.
    sound_class
        Where the kernel describes sound cards.
    by_port
        Whether to tell a USB device by its port although it has a serial number.
    """
    match = _ALSA_HARDWARE.search(name)
    if match is None:
        return name
    card, device = match.groups()
    suffix = "" if device == "0" else f".{device}"
    where = sound_class / f"card{card}"
    for parent in (where / "device").resolve().parents:
        vendor, product = _read(parent / "idVendor"), _read(parent / "idProduct")
        if vendor and product:
            serial = _read(parent / "serial")
            which = f"@{parent.name}" if by_port or not serial else f"-{serial}"
            return f"usb:{vendor}:{product}{which}{suffix}"
    identifier = _read(where / "id")
    if identifier:
        return f"card:{identifier}{suffix}"
    return name[: match.start()] + suffix


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _probe(sounddevice: Any, index: int) -> tuple[int, ...]:
    taken = []
    for rate in COMMON_SAMPLERATES:
        try:
            sounddevice.check_input_settings(
                device=index, channels=1, dtype="int16", samplerate=rate
            )
        except (sounddevice.PortAudioError, ValueError):
            continue
        taken.append(rate)
    return tuple(taken)


def _describe(microphones: list[Microphone]) -> str:
    return ", ".join(
        repr(m.name) if m.identity == m.name else f"{m.name!r} ({m.identity})"
        for m in microphones
    )
