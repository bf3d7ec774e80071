"""The processes of the sensor: all there, none stopped, each with what is set up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from acoupi.system.doctor.findings import Finding, error, warning
from acoupi.system.doctor.sensor import Sensor
from acoupi.system.troubles import read_troubles

__all__ = ["UnitTexts", "probe"]

UnitTexts = dict[str, dict[str, str]]
"""Unit files by name, for ``system`` and for ``user``."""

PROC = Path("/proc")

_STOPPED = "tT"
_TICKS = os.sysconf("SC_CLK_TCK")


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the processes."""
    if sensor.program is None:
        return
    alive = sensor.alive
    if not alive.running:
        yield error(
            "not-running",
            "The sensor does not run.",
            "none of its processes is there"
            + (f"; {alive.kept_by} keeps them" if alive.kept_by else ""),
            "acoupi start, or `acoupi run` on machines without systemd",
        )
        return
    if alive.kept_by == "scripts":
        for process in alive.processes:
            if process.state != "running":
                yield error(
                    "process-gone",
                    "A process of the sensor is gone.",
                    f"{process.name} does not run, the others do",
                    f"{sensor.settings.restart_script}; its log is in "
                    f"{sensor.settings.log_dir}",
                )
    pids = {process.name: process.pid for process in alive.processes if process.pid}
    # A foreground sensor is one tree; liveness knows its root.
    named = {
        pid: name for name, first in pids.items() for pid in [first, *_children(first)]
    }
    yield from _probe_states(named)
    yield from _probe_troubles(sensor)
    yield from _probe_age(sensor, named)


def _children(pid: int) -> list[int]:
    """Return all descendants of a process."""
    found: list[int] = []
    for task in PROC.glob(f"{pid}/task/*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_children(child)]
    return found


def _probe_states(named: dict[int, str]) -> Iterator[Finding]:
    for pid, name in sorted(named.items()):
        fields = _stat(pid)
        if fields and fields[0] in _STOPPED:
            yield error(
                "process-stopped",
                "A process of the sensor is stopped and does nothing.",
                f"process {pid} ({name}: {_command(pid)}) is in state {fields[0]}",
                f"kill -CONT {pid}; when a debugger holds it, end that",
            )


def _probe_troubles(sensor: Sensor) -> Iterator[Finding]:
    """Look at what the processes logged as errors lately."""
    for trouble in read_troubles(sensor.settings.run_dir):
        times = f", {trouble['count']} times" if trouble["count"] > 1 else ""
        yield error(
            "process-in-trouble",
            "A process of the sensor reports an error.",
            f"{trouble['role']}, {trouble['age']:.0f} s ago{times}: {trouble['text']}",
            f"its log says more: journalctl -u acoupi-{trouble['role']}, or "
            f"{sensor.settings.log_dir}",
        )


def _probe_age(sensor: Sensor, named: dict[int, str]) -> Iterator[Finding]:
    """Look for processes that are older than the configuration."""
    changed = 0.0
    for file in (sensor.settings.program_file, sensor.settings.celery_file):
        try:
            changed = max(changed, file.stat().st_mtime)
        except OSError:
            continue
    old = [
        name
        for pid, name in named.items()
        # By the clock of now, which is right when that of the start was not.
        if (begun := _begun(pid)) is not None and begun + 5 < changed <= time.time()
    ]
    if old:
        yield warning(
            "configuration-not-applied",
            "The configuration was changed after the sensor was started.",
            f"{', '.join(sorted(set(old)))} still work with the former one",
            "acoupi restart (or end `acoupi run` and start it again)",
        )


def _stat(pid: int) -> list[str]:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    # The name, in parentheses, may hold anything.
    return text.rpartition(")")[2].split()


def _begun(pid: int) -> float | None:
    fields = _stat(pid)
    if len(fields) < 20:
        return None
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / _TICKS
    return time.time() - age


def _command(pid: int) -> str:
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    return b" ".join(words).decode(errors="replace").strip()[-60:] or "?"
