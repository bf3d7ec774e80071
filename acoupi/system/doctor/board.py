"""The board: power, heat, memory, load."""

from __future__ import annotations

import re
from collections.abc import Iterator

from acoupi.system.doctor.findings import Finding, error, warning
from acoupi.system.doctor.sensor import Machine, Sensor

__all__ = ["probe"]

THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
"""Bits of the Raspberry Pi's firmware, as ``vcgencmd get_throttled`` shows them:
https://www.raspberrypi.com/documentation/computers/os.html#get_throttled"""

HOT = 80.0
"""Degrees Celsius at which a Raspberry Pi slows down."""

SCARCE_SHARE = 0.05
"""Share of the memory that is to be available."""

BUSY = 4.0
"""Runnable processes for each core, over a quarter of an hour, that are too many."""

_POWER = (
    "use the supply made for the board, a shorter or thicker cable, and a powered hub "
    "for USB microphones; on solar power look at the battery"
)


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the machine."""
    machine = sensor.machine
    yield from _probe_power(machine)
    yield from _probe_heat(machine)
    yield from _probe_memory(machine)
    yield from _probe_load(machine)


def _probe_power(machine: Machine) -> Iterator[Finding]:
    try:
        bits = int((machine.read(THROTTLED) or "0").strip(), 16)
    except ValueError:
        bits = 0
    alarms = [
        alarm.read_text().strip() == "1"
        for hwmon in machine.path("sys/class/hwmon").glob("hwmon*")
        if (machine.read(str((hwmon / "name").relative_to(machine.root))) or "").strip()
        == "rpi_volt"
        for alarm in hwmon.glob("in0_lcrit_alarm")
    ]
    if bits & 0x1 or any(alarms):
        yield error(
            "undervoltage",
            "The board gets too little voltage now.",
            f"the firmware says {bits:#x}" if bits else "rpi_volt raises its alarm",
            _POWER,
        )
    elif bits & 0x10000:
        yield warning(
            "undervoltage-before",
            "The board got too little voltage since it was started.",
            f"the firmware says {bits:#x}",
            _POWER,
        )


def _probe_heat(machine: Machine) -> Iterator[Finding]:
    hottest = None
    for zone in machine.path("sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            degrees = int(zone.read_text()) / 1000
        except (OSError, ValueError):
            continue
        hottest = max(degrees, hottest or degrees)
    if hottest is not None and hottest >= HOT:
        yield error(
            "overheating",
            "The board is too hot and slows down.",
            f"{hottest:.0f} °C",
            "shade and ventilate the case, fit a heat sink, or record less often",
        )


def _probe_memory(machine: Machine) -> Iterator[Finding]:
    kilobytes = {
        name: int(value)
        for name, value in re.findall(
            r"^(\w+):\s+(\d+) kB", machine.read("proc/meminfo") or "", re.MULTILINE
        )
    }
    total, available = kilobytes.get("MemTotal"), kilobytes.get("MemAvailable")
    if total and available is not None and available < SCARCE_SHARE * total:
        yield error(
            "memory-low",
            "There is hardly any memory left.",
            f"{available / 1024:.0f} of {total / 1024:.0f} MB are available",
            "`acoupi restart` if it grew in the course of days (and report it); else a "
            "smaller model, fewer other programs, or `acoupi run --layout compact`",
        )
    killed = re.search(
        r"^oom_kill (\d+)", machine.read("proc/vmstat") or "", re.MULTILINE
    )
    if killed and int(killed[1]):
        yield warning(
            "out-of-memory",
            "Processes were killed since the start because memory had run out.",
            f"{killed[1]} of them",
            "`journalctl -k -g oom-kill` names them; use a smaller model, or a board "
            "with more memory",
        )


def _probe_load(machine: Machine) -> Iterator[Finding]:
    load = (machine.read("proc/loadavg") or "").split()
    cores = len(re.findall(r"^cpu\d+ ", machine.read("proc/stat") or "", re.MULTILINE))
    if len(load) >= 3 and cores and float(load[2]) > BUSY * cores:
        yield warning(
            "overloaded",
            "The machine has more to do than it can.",
            f"a load of {load[2]} over 15 minutes on {cores} cores",
            "`top` shows what keeps it busy; recordings are safe, detections are late",
        )
