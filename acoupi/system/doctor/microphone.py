"""The microphone: there, free, allowed, and heard.

What captures is asked for its own report, and the kernel for the rest: no device is
opened. Only where nothing captures and the microphone is not a sound card's is
PortAudio asked for its devices, in a process of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from acoupi.system.doctor.cards import CaptureDevice, list_capture_devices
from acoupi.system.doctor.findings import Finding, error
from acoupi.system.doctor.processes import PROC
from acoupi.system.doctor.sensor import Sensor

__all__ = ["probe"]

_NUMBERED = re.compile(r"\(?\b(?:plug)?hw:(\d+)(?:,(\d+))?\)?")

_QUALITY = {
    "silence": ("microphone-silent", "The microphone delivers no sound at all."),
    "stuck": ("microphone-stuck", "The microphone delivers one and the same value."),
    "clipping": ("microphone-clips", "The microphone is too loud."),
    "offset": ("microphone-offset", "The microphone's mean is not zero."),
}

UNTAKEN = 20
"""Finished recordings from which the recorder's worker does not do its task."""

_HOW_TO_CHANGE = "acoupi config set microphone.device_name IDENTITY; acoupi restart"


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the microphone."""
    if sensor.program is None or not isinstance(sensor.setting("microphone"), dict):
        return
    report = sensor.recorder or {}
    hears = bool(sensor.running and report.get("current") and report.get("capturing"))
    if sensor.running:
        yield from _probe_report(sensor, report)
    if sensor.setting("microphone", "source") not in {None, "microphone"}:
        yield from _probe_source(sensor)
        return
    name = str(sensor.setting("microphone", "device_name") or "default")
    devices = list_capture_devices(sensor.machine)
    yield from _probe_card(sensor, name, devices, hears=hears)
    busy = any(device.owner for device in devices)
    meant = [device for device in devices if device.fits(name)]
    if not (hears or busy or meant or sensor.running or _of_a_card(name)):
        yield from _probe_devices(name)


def _probe_report(sensor: Sensor, report: dict[str, Any]) -> Iterator[Finding]:
    if not report.get("current"):
        age = report.get("age")
        yield error(
            "recorder-silent",
            "The recorder does not report.",
            f"{sensor.settings.run_dir / 'recorder.json'} is "
            + ("not there" if not report else "of a former start")
            if age is None
            else f"its last report is {age:.0f} s old",
            f"acoupi restart; its log (journalctl, or {sensor.settings.log_dir}) says "
            "why",
        )
        return
    waiting = report.get("recordings_waiting")
    if isinstance(waiting, int) and waiting > UNTAKEN:
        yield error(
            "recordings-not-taken",
            "Finished recordings wait in the recorder.",
            f"{waiting} of them: nobody tells its worker to hand them over",
            "see that beat and the broker work (`acoupi status`), else: acoupi "
            "restart. What is in memory is lost in a power cut",
        )
    problems = [str(problem) for problem in report.get("problems") or []]
    if not report.get("capturing") and not report.get("waiting_on_purpose"):
        away = report.get("seconds_away") or 0
        yield error(
            "microphone-lost",
            "No sound is captured.",
            (problems or [f"the microphone has been away for {away:.0f} s"])[0],
            "plug the microphone in again: recording goes on by itself. Look at its "
            "cable, and at `acoupi devices`",
        )
        return
    for problem in problems:
        kind = next(
            (kind for kind in _QUALITY if re.search(rf"(^|: ){kind}\b", problem)), None
        )
        code, what = _QUALITY.get(
            kind or "", ("microphone-problem", "The microphone does not seem well.")
        )
        advice = problem.partition("; ")[2]
        yield error(
            code,
            what,
            f"{report.get('device')}: {problem}",
            (f"{advice}. " if advice else "")
            + "Look at its switches, its gain (alsamixer) and its supply; try another",
        )


def _probe_source(sensor: Sensor) -> Iterator[Finding]:
    """Look at what stands for a microphone."""
    source = sensor.setting("microphone", "source")
    path = sensor.path_setting("microphone", "source_path")
    if source in {"file", "folder"} and (path is None or not path.exists()):
        yield error(
            "sound-file-missing",
            "The sound that stands for a microphone is not there.",
            f"microphone.source_path is {path}",
            "acoupi config set microphone.source_path PATH",
        )


def _probe_card(
    sensor: Sensor, name: str, devices: list[CaptureDevice], *, hears: bool
) -> Iterator[Finding]:
    numbered = _NUMBERED.search(name)
    if numbered is not None:
        there = [d for d in devices if d.card == int(numbered[1])]
        yield error(
            "microphone-by-number",
            "The microphone is configured by a number that changes.",
            f"microphone.device_name is {name!r}; card {numbered[1]} is "
            + (f"{there[0].name} now" if there else "not there now"),
            f"use its identity instead: {_HOW_TO_CHANGE}. There "
            + (_shown(devices) or "is no microphone"),
        )
        return
    if hears:
        return
    meant = [device for device in devices if name == "default" or device.fits(name)]
    if not meant and _of_a_card(name):
        yield error(
            "microphone-missing",
            "The microphone is not there.",
            f"microphone.device_name is {name!r}. There "
            + (_shown(devices) or "is no microphone at all"),
            "plug it in, or into another port; for another one: " + _HOW_TO_CHANGE,
        )
    own = {process.pid for process in sensor.alive.processes}
    for device in meant:
        if device.owner is not None and device.owner not in own and name != "default":
            yield error(
                "microphone-busy",
                "Another program has the microphone.",
                f"process {device.owner} ({_command(device.owner)}) captures from "
                f"{device.identity}",
                f"end it (kill {device.owner}), or its service; a second sensor needs "
                "a microphone of its own",
            )
        if not _allowed(device.node, sensor):
            yield error(
                "microphone-forbidden",
                "The sensor's user may not use the microphone.",
                f"{device.node} is for its owner and its group only",
                f"sudo usermod -aG audio {_owner_of(sensor)}, and log in again",
            )
        yield from _probe_rate(sensor, device)


def _of_a_card(name: str) -> bool:
    """Tell whether a name is one of the kernel's, not of a sound server."""
    return name.startswith(("usb:", "card:")) or _NUMBERED.search(name) is not None


def _probe_rate(sensor: Sensor, device: CaptureDevice) -> Iterator[Finding]:
    rate = sensor.setting("microphone", "samplerate")
    known = [int(word) for word in re.findall(r"\d+", device.rates)]
    exact = known and "-" not in device.rates and "continuous" not in device.rates
    if exact and isinstance(rate, int) and rate not in known:
        yield error(
            "samplerate-not-taken",
            "The microphone does not take the samplerate.",
            f"microphone.samplerate is {rate}; {device.identity} takes {device.rates}",
            f"acoupi config set microphone.samplerate {max(known)}; acoupi restart",
        )


def _probe_devices(name: str) -> Iterator[Finding]:
    from acoupi.system.listening import ListeningError, look_for_microphones

    try:
        found = look_for_microphones(probe=False)
    except ListeningError as problem:
        yield error(
            "sound-system-broken",
            "The sound system cannot be asked for microphones.",
            str(problem),
            "apt install libportaudio2; when a sound server is used, see that it runs",
        )
        return
    fits = [
        one
        for one in found
        if name == "default"
        or name.casefold() in f"{one.name}\n{one.identity}".casefold()
    ]
    if not found:
        yield error(
            "microphone-none",
            "This machine has no microphone.",
            "neither the kernel nor a sound server tells of one",
            "plug one in; an I2S microphone needs its overlay in config.txt; to run "
            "without one, set microphone.source to signal, file or folder",
        )
    elif not fits:
        names = ", ".join(one.identity for one in found)
        yield error(
            "microphone-missing",
            "The microphone is not there.",
            f"microphone.device_name is {name!r}. There are: {names}",
            "plug it in; for another one: " + _HOW_TO_CHANGE,
        )


def _allowed(node: Path, sensor: Sensor) -> bool:
    """Tell whether the sensor's user may open a device, by its mode alone."""
    try:
        file, owner = node.stat(), sensor.settings.home.stat().st_uid
    except OSError:
        return True
    if owner == 0 or file.st_mode & 0o006 == 0o006:
        return True
    if file.st_uid == owner:
        return bool(file.st_mode & 0o600 == 0o600)
    # The services of systemd have the group whoever they run as.
    if sensor.alive.kept_by == "systemd":
        return True
    import pwd

    try:
        user = pwd.getpwuid(owner)
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
    except KeyError:
        groups = []
    return file.st_gid in groups and file.st_mode & 0o060 == 0o060


def _owner_of(sensor: Sensor) -> str:
    from acoupi.system.configuration import owner_name

    return owner_name(sensor.settings.home)


def _shown(devices: list[CaptureDevice]) -> str:
    names = ", ".join(f"{device.name} = {device.identity}" for device in devices)
    return f"{'is' if len(devices) == 1 else 'are'}: {names}" if names else ""


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return "of another user"
