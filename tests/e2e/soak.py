"""A sensor of each program for hours: does anything grow that should not?

    python tests/e2e/soak.py --hours 24

Each runs in a container with a real systemd, records without a gap, and keeps what it
records for half an hour. Every half a minute the memory, file descriptors and threads
of each service are noted, and the size of journal, logs and databases; the report,
beside what was noted, has the lines fitted through them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import marathon  # makes the scenarios importable

# isort: split
import soak_report
import sound
from installation import ACTIVITY, DEFAULT, config_of, install_sensor
from machine import MachineError, NspawnMachine
from sensor import Sensor, eventually

PAUSE = 30.0
"""Seconds between two measurements."""

OUTSIDE = 20
"""Measurements between two looks at what the sensor says itself."""

PROGRAMS = {"default": DEFAULT, "activity": ACTIVITY}

SIZES = {
    "database": "/var/lib/acoupi/data/acoupi.db*",
    "recordings": "/var/lib/acoupi/data/recordings",
    "home_logs": "/var/lib/acoupi/log",
    "temporary": "/var/lib/acoupi/tmp /dev/shm /tmp",
    "journal": "/run/log/journal /var/log/journal",
}

WORK = """
SELECT count(*) AS recordings, sum(duration) AS seconds,
    (SELECT sum(count) FROM loss) AS losses,
    (SELECT count(*) FROM detection) AS detections
FROM recording
"""

GAPS = """
SELECT count(*) AS gaps, max(gap) AS longest FROM (
    SELECT 86400 * (julianday(created_on)
        - lag(julianday(created_on) + duration / 86400) OVER (ORDER BY created_on))
        AS gap
    FROM recording
) WHERE gap > 0.005
"""


@dataclass
class Runner:
    """A sensor in a container, and what it is called."""

    name: str
    machine: NspawnMachine
    sensor: Sensor

    def measure(self) -> dict[str, Any]:
        """Note what each service and the disk hold."""
        services = {
            unit.removesuffix(".service"): _holdings(processes)
            for unit, processes in self.machine.processes_of("acoupi-*.service").items()
            if processes
        }
        commands = [
            f"echo {name} $(du --bytes --summarize --total {paths} 2>/dev/null"
            " | tail -n 1 | cut -f 1)"
            for name, paths in SIZES.items()
        ]
        lines = self.machine.succeed("; ".join(commands)).splitlines()
        sizes = {line.split()[0]: int(line.split()[1]) for line in lines}
        return {"services": services, "sizes": sizes}

    def ask(self) -> dict[str, Any]:
        """Note what the sensor says of itself, and what it has done."""
        found = self.sensor.status()
        lines, size = self.machine.succeed(
            "journalctl --boot --unit='acoupi*' --output=cat | wc --lines --bytes"
        ).split()
        return {
            **self.sensor.query(WORK)[0],
            **self.sensor.query(GAPS)[0],
            "samples_lost": found["recorder"]["samples_lost"],
            "problems": found["problems"],
            "restarts": sum(it["restarts"] or 0 for it in found["processes"]),
            "log_lines": int(lines),
            "log_bytes": int(size),
        }


def main() -> int:
    """Run, and return the exit code: 0 when nothing grew."""
    options = _parse()
    directory: Path = options.directory
    if options.report:
        return _report(directory)
    if options.fresh:
        shutil.rmtree(directory, ignore_errors=True)
    record = marathon.Record(directory / "samples.jsonl")
    before = max((it["elapsed"] for it in record.read()), default=0.0)
    marathon.say(f"{options.hours:g} h, of which {before / 3600:.2f} h are done")
    runners: list[Runner] = []
    with marathon.stoppable():
        try:
            system = marathon.system_layers(directory / "checkout")
            runners += [_boot(name, system, options) for name in options.programs]
            _soak(runners, record, before, options.hours * 3600)
        finally:
            for runner in runners:
                with contextlib.suppress(MachineError):
                    runner.machine.shutdown()
    return _report(directory)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument(
        "--duration",
        type=float,
        default=2.0,
        help="of a recording, in seconds; the default interval is 10: with 0.25, half "
        "an hour makes as many recordings as most of a day",
    )
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=[*PROGRAMS])
    parser.add_argument(
        "--directory", type=Path, default=marathon.run_directory("soak")
    )
    parser.add_argument("--fresh", action="store_true", help="forget former runs")
    parser.add_argument("--report", action="store_true", help="only write the report")
    return parser.parse_args()


def _boot(name: str, system: list[Path], options: argparse.Namespace) -> Runner:
    directory: Path = options.directory
    machine = NspawnMachine(name, system, directory / name)
    chirps = directory / "chirps.wav"
    if not chirps.exists():
        sound.write_chirps(str(chirps), seconds=20)
    machine.start()
    home = Path("/var/lib/acoupi")
    if machine.execute(f"test -e {home}/config/name")[0] != 0:
        sensor = install_sensor(
            machine,
            str(chirps),
            program=PROGRAMS[name],
            config=_config(name, options.duration),
        )
    else:
        sensor = Sensor(
            machine,
            machine,
            play="paplay --server=unix:/run/microphone/native",
            user="acoupi",
        )
        sensor.play_sound(str(chirps))
        eventually("recording", sensor.is_recording)
    marathon.say(f"{name} records")
    return Runner(name, machine, sensor)


def _config(name: str, duration: float) -> dict[str, Any]:
    config = config_of(PROGRAMS[name])
    config["recording"].update(duration=duration, interval=duration)
    # So that deleting goes on, too, and the disk stays as full as it is.
    config["retention"] = {"max_age": 0.02}
    if "messaging" in config:
        config["messaging"].update(message_send_interval=5, heartbeat_interval=60)
    return config


def _soak(
    runners: list[Runner], record: marathon.Record, before: float, length: float
) -> None:
    began = time.monotonic()
    revision = marathon.revision()
    rounds = 0
    while True:
        elapsed = before + time.monotonic() - began
        outside = rounds % OUTSIDE == 0 or elapsed >= length
        for runner in runners:
            entry = {
                "elapsed": elapsed,
                "part": before,
                "revision": revision,
                "program": runner.name,
                **runner.measure(),
            }
            if outside:
                entry["outside"] = runner.ask()
                marathon.say(
                    f"{runner.name} {elapsed / 3600:.2f} h: "
                    + json.dumps(entry["outside"])
                )
            record.add(entry)
        if outside:
            soak_report.write(record.path.with_name("report.md"), record.read())
        if elapsed >= length:
            return
        rounds += 1
        time.sleep(max(0.0, began + rounds * PAUSE - time.monotonic()))


def _holdings(processes: list[int]) -> dict[str, Any]:
    held = {"pid": processes[0], "rss": 0, "pss": 0, "private": 0, "fds": 0}
    held["threads"] = 0
    for pid in processes:
        directory = Path(f"/proc/{pid}")
        # One that has just ended holds nothing.
        with contextlib.suppress(OSError):
            for line in (directory / "smaps_rollup").read_text().splitlines()[1:]:
                name, size = line.split()[:2]
                kind = {"Rss:": "rss", "Pss:": "pss"}.get(name)
                # Not the clean pages, of files: whether they are private changes with
                # what else runs on this machine.
                kind = "private" if name == "Private_Dirty:" else kind
                if kind:
                    held[kind] += int(size) * 1024
            held["fds"] += len(list((directory / "fd").iterdir()))
            held["threads"] += len(list((directory / "task").iterdir()))
    return held


def _report(directory: Path) -> int:
    entries = marathon.Record(directory / "samples.jsonl").read()
    report = directory / "report.md"
    grew = soak_report.write(report, entries)
    sys.stdout.write(f"{report.read_text()}\n{marathon.boots()}\n{report}\n")
    return 1 if grew else 0


if __name__ == "__main__":
    raise SystemExit(main())
