"""Processes of a sensor that hang (SIGSTOP): how long until each is replaced?

    python tests/e2e/hangs.py --trials 3

In a container with a real systemd. Each trial stops the workers and beat, all at once,
and afterwards the queue's server alone.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import marathon  # makes the scenarios importable

# isort: split
import faults
import sound
from installation import install_sensor
from machine import NspawnMachine
from sensor import Sensor, eventually

PATIENCE = 200.0
"""Seconds after which nobody replaces a process any more."""


def main() -> int:
    """Run, and return the exit code: 0 when every process was replaced."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=3)
    trials: int = parser.parse_args().trials
    with (
        marathon.stoppable(),
        tempfile.TemporaryDirectory(prefix="acoupi-hangs-") as name,
    ):
        return _run(trials, Path(name))
    return 1


def _run(trials: int, scratch: Path) -> int:
    chirps = scratch / "chirps.wav"
    sound.write_chirps(str(chirps), seconds=20)
    machine = NspawnMachine("hangs", marathon.system_layers(scratch / "checkout"))
    found: dict[str, list[float]] = {}
    try:
        machine.start()
        sensor = install_sensor(machine, str(chirps))
        watched = [unit for unit in sensor.services() if unit != sensor.broker]
        for number in range(trials):
            for units in (watched, [sensor.broker]):
                for unit, seconds in _stop(sensor, units).items():
                    found.setdefault(unit, []).append(seconds)
                    marathon.say(f"trial {number + 1}: {unit}: {seconds:.1f} s")
                faults.works_on(sensor)
    finally:
        machine.discard()
    for unit, times in sorted(found.items()):
        sys.stdout.write(
            f"{unit}: replaced in {len(times)} of {trials} trials after"
            f" {statistics.median(times):.1f} s (median), {max(times):.1f} s (most)\n"
        )
    return 0


def _stop(sensor: Sensor, units: list[str]) -> dict[str, float]:
    """Stop processes; return after how many seconds each was replaced by another."""
    former = {unit: sensor.show(unit, "MainPID") for unit in units}
    sensor.machine.succeed(f"kill -STOP {' '.join(former.values())}")
    began = time.monotonic()
    found: dict[str, float] = {}

    def all_are_replaced() -> bool:
        for unit in units:
            if unit not in found and sensor.is_back(unit, former[unit]):
                found[unit] = time.monotonic() - began
        return len(found) == len(units)

    eventually("replaced", all_are_replaced, PATIENCE)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
