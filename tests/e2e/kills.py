"""kill -9 of processes of a sensor, again and again: what is lost, and for how long?

    python tests/e2e/kills.py --rounds 500

A sensor in a container with a real systemd records without a gap while a process of it
is killed, drawn by lot: a worker, beat, or the queue's server; sometimes two at once,
sometimes the same again while it starts. After each 50 rounds everything that the
sensor knows is looked through (`reckoning`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import marathon  # makes the scenarios importable

# isort: split
import reckoning
import sound
from installation import config_of, install_sensor
from machine import MachineError, NspawnMachine
from sensor import Sensor, eventually

BATCH = 50
"""Rounds between two reckonings."""

SECONDS = 2
"""Length of a recording."""

SERVICES = "acoupi-*.service"

RECONCILER = "acoupi-worker-default.service"

PLAY = "paplay --latency-msec=100 --server=unix:/run/microphone/native"
"""In small pieces, as of a sound card: the sound server would hand on up to a second of
what it plays at a time, and the recorder seem to hear so much later."""

CPU_GROUPS = Path("/sys/fs/cgroup/cpu")
"""Where the kernel shares out processors between groups (cgroup version 1)."""

Round = dict[str, Any]


def main() -> int:
    """Run, and return the exit code: 0 when every promise was kept."""
    options = _parse()
    directory: Path = options.directory
    if options.report:
        return _report(directory)
    if options.fresh:
        shutil.rmtree(directory, ignore_errors=True)
    record = marathon.Record(directory / "kills.jsonl")
    done = sum(len(it["rounds"]) for it in record.read())
    marathon.say(f"{options.rounds} rounds, of which {done} are done")
    with (
        marathon.stoppable(),
        tempfile.TemporaryDirectory(prefix="acoupi-kills-") as name,
    ):
        if done < options.rounds:
            _kill(record, done, options, Path(name))
    return _report(directory)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--unit", default=SERVICES, help="whose processes are killed, as file names"
    )
    parser.add_argument(
        "--pause",
        type=float,
        nargs=2,
        default=[0.2, 7.0],
        metavar=("LEAST", "MOST"),
        help="seconds before each kill",
    )
    parser.add_argument(
        "--busy", type=int, default=0, help="processes that compute without end"
    )
    parser.add_argument(
        "--once", action="store_true", help="never a second kill right after one"
    )
    parser.add_argument(
        "--directory", type=Path, default=marathon.run_directory("kills")
    )
    parser.add_argument("--fresh", action="store_true", help="forget former runs")
    parser.add_argument("--report", action="store_true", help="only show the report")
    parser.add_argument(
        "--alone",
        action="store_true",
        help="the sensor has the processors before all else on this host",
    )
    return parser.parse_args()


def _kill(
    record: marathon.Record, done: int, options: argparse.Namespace, scratch: Path
) -> None:
    chirps = scratch / "chirps.wav"
    sound.write_chirps(str(chirps), seconds=20)
    machine = NspawnMachine("kills", marathon.system_layers(scratch / "checkout"))
    draw = random.Random(f"{options.seed}/{done}")
    left_alone = contextlib.ExitStack()
    try:
        machine.start()
        if options.alone:
            left_alone.enter_context(_before_all_else(machine))
        config = config_of("acoupi.programs.activity")
        config["recording"].update(duration=SECONDS, interval=SECONDS)
        sensor = install_sensor(machine, str(chirps), config=config, play=PLAY)
        eventually("a message", sensor.received_recordings)
        known = reckoning.places(machine, sensor)
        while done < options.rounds:
            wanted = min(BATCH, options.rounds - done)
            for number in range(options.busy):
                machine.succeed(
                    f"systemd-run --quiet --unit=busy-{number}"
                    " bash -c 'while :; do :; done'"
                )
            rounds = [_round(machine, draw, options) for _ in range(wanted - 1)]
            # The one that looks for forgotten recordings: at its start it does so at
            # once, which saves the reckoning ten minutes.
            rounds.append({"strikes": [_strike(machine, draw, RECONCILER)]})
            if options.busy:
                machine.succeed("systemctl stop 'busy-*'")
            try:
                found = reckoning.reckon(machine, sensor, rounds, known, SECONDS)
            except (AssertionError, MachineError):
                _keep_evidence(machine, sensor, record.path.parent / f"stuck-{done}")
                raise
            record.add(
                {
                    "seed": options.seed,
                    "revision": marathon.revision(),
                    "rounds": rounds,
                    **found,
                }
            )
            done += wanted
            marathon.say(f"{done} rounds: {reckoning.in_short(found)}")
            if found["broken"]:
                _keep_evidence(machine, sensor, record.path.parent / f"broken-{done}")
    finally:
        machine.discard()
        left_alone.close()


@contextlib.contextmanager
def _before_all_else(machine: NspawnMachine) -> Iterator[None]:
    """Keep what else this host does from being measured, too.

    Within the group priorities count, as on a sensor; outside of groups they count
    within a session only (``sched_autogroup``), that is, not between services.
    """
    group = CPU_GROUPS / f"acoupi-kills-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cpu.shares").write_text("20480")
        for unit in ("init.scope", "*.service"):
            for processes in machine.processes_of(unit).values():
                for process in processes:
                    with contextlib.suppress(ProcessLookupError):
                        (group / "cgroup.procs").write_text(str(process))
        yield
    finally:
        group.rmdir()


def _round(
    machine: NspawnMachine, draw: random.Random, options: argparse.Namespace
) -> Round:
    """Kill something at a random moment; return what, and when."""
    time.sleep(draw.uniform(*options.pause))
    strikes = [_strike(machine, draw, options.unit)]
    if not options.once and draw.random() < 0.2:
        # Another at once, or the same while it starts.
        time.sleep(draw.choice([0.0, draw.uniform(0.0, 3.0)]))
        strikes.append(_strike(machine, draw, options.unit))
    return {"strikes": strikes}


def _strike(
    machine: NspawnMachine, draw: random.Random, wanted: str = SERVICES
) -> dict[str, Any]:
    """Kill a process that runs, as soon as there is one."""
    while True:
        running = {
            unit: processes
            for unit, processes in machine.processes_of(wanted).items()
            if processes
        }
        # One that ends just now is not the one.
        with contextlib.suppress(ProcessLookupError, IndexError):
            unit = draw.choice(sorted(running))
            os.kill(draw.choice(running[unit]), signal.SIGKILL)
            return {"unit": unit.removesuffix(".service"), "at": time.time()}
        time.sleep(0.05)


def _keep_evidence(machine: NspawnMachine, sensor: Sensor, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(MachineError):
        journal = machine.succeed("journalctl --boot --no-pager --unit='acoupi*'")
        (directory / "journal").write_text(journal)
        (directory / "status").write_text(sensor.acoupi("status"))
        machine.succeed(f"sqlite3 {sensor.database} '.backup /run/kept.db'")
        machine.copy_to_host("/run/kept.db", str(directory / "acoupi.db"))
        machine.copy_to_host("/var/lib/listener/messages", str(directory / "messages"))


def _report(directory: Path) -> int:
    entries = marathon.Record(directory / "kills.jsonl").read()
    lines, broken = reckoning.summary(entries)
    (directory / "report.md").write_text("\n".join(lines) + "\n")
    sys.stdout.write("\n".join([*lines, "", marathon.boots(), str(directory), ""]))
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
