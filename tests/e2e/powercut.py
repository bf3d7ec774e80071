"""Power cuts, again and again: what is lost, and does the sensor come back?

    python tests/e2e/powercut.py --cycles 100

A sensor on a virtual machine records, detects and sends, with its home on a disk that
loses in a cut what was not flushed (`volatile_disk`), at random and at aimed moments
(`power_aims`). After each cut the disk is judged from outside (`aftermath`). Some
cycles begin with the boot after the former cut, the others with the saved state of a
sensor that runs, which is quicker. It goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import marathon  # makes the scenarios importable

# isort: split
import container_rig
import disk_image
import power_aims
from container_rig import ContainerRig
from machine import MachineError, NspawnMachine, scratch_directory
from power_report import report
from power_rig import PowerRig
from receivers import RECEIVERS
from virtual_machine import VirtualMachine
from virtual_rig import VirtualRig

BATCH = 40
"""Cuts of one sensor; then it is set up anew, in the other way."""


def main() -> int:
    """Run, and return the exit code: 0 when every promise was kept."""
    options = _parse()
    directory: Path = options.directory
    if not options.report:
        needed = disk_image if options.on == "virtual" else container_rig
        reason = needed.missing()
        if reason:
            raise SystemExit(f"skipped: {reason}")
        if options.fresh:
            shutil.rmtree(directory, ignore_errors=True)
        record = marathon.Record(directory / "powercut.jsonl")
        with marathon.stoppable():
            _cut(record, options)
    lines, broken = report(marathon.Record(directory / "powercut.jsonl").read())
    (directory / "report.md").write_text("\n".join(lines) + "\n")
    sys.stdout.write("\n".join([*lines, "", str(directory), ""]))
    return 1 if broken else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--on",
        choices=["container", "virtual"],
        default="container",
        help="what the sensor runs on",
    )
    parser.add_argument(
        "--careless",
        action="store_true",
        help="a sensor (in a container) that flushes nothing: has to be found broken",
    )
    parser.add_argument(
        "--waiting",
        choices=["memory", "disk", "both"],
        default="both",
        help="where recordings wait for their decision; both: one batch each",
    )
    parser.add_argument(
        "--receiver",
        choices=[*RECEIVERS, "both"],
        default="both",
        help="where messages go; both: each of them to both",
    )
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument(
        "--boot-every", type=int, default=4, help="cycles that begin with a boot"
    )
    parser.add_argument(
        "--directory", type=Path, default=marathon.run_directory("powercut")
    )
    parser.add_argument("--fresh", action="store_true", help="forget former runs")
    parser.add_argument("--report", action="store_true", help="only show the report")
    return parser.parse_args()


def _cut(record: marathon.Record, options: argparse.Namespace) -> None:
    done = sum("aim" in entry for entry in record.read())
    marathon.say(f"{options.cycles} cycles, of which {done} are done")
    while done < options.cycles:
        number = done // options.batch
        wanted = min(options.batch - done % options.batch, options.cycles - done)
        on_disk = {"memory": False, "disk": True}.get(options.waiting, number % 2 == 1)
        before = _boots()
        with _rig(options, waiting_on_disk=on_disk) as rig:
            marathon.say("setting a sensor up")
            rig.set_up()
            rig.warm_up()
            run = Run(rig, record, options.seed, options.boot_every, before)
            for index in range(done, done + wanted):
                run.cycle(index)
            run.finish()
        done += wanted


def _rig(options: argparse.Namespace, *, waiting_on_disk: bool) -> PowerRig:
    receivers = list(RECEIVERS) if options.receiver == "both" else [options.receiver]
    if options.on == "virtual":
        boot = disk_image.boot_files()
        return VirtualRig(boot, waiting_on_disk=waiting_on_disk, receivers=receivers)
    checkout = scratch_directory("powercut-acoupi-")
    try:
        system = marathon.system_layers(checkout / "layer")
    except BaseException:
        shutil.rmtree(checkout)
        raise
    return ContainerRig(
        system,
        waiting_on_disk=waiting_on_disk,
        receivers=receivers,
        owned=checkout,
        careless=options.careless,
    )


class Run:
    """Cuts of one sensor.

    Parameters
    ----------
    rig : PowerRig
        Has been warmed up.
    record : marathon.Record
        What is found goes there.
    seed : int
        Decides about each cut, with its number.
    boot_every : int
        Of how many cycles one begins with a boot.
    before : tuple of int
        Boots of other sensors by this process, and those of them tried again.
    """

    def __init__(
        self,
        rig: PowerRig,
        record: marathon.Record,
        seed: int,
        boot_every: int,
        before: tuple[int, int] = (0, 0),
    ) -> None:
        self.rig = rig
        self.record = record
        self.seed = seed
        self.boot_every = boot_every
        self.before = before
        self._former: str | None = None

    def cycle(self, index: int) -> dict[str, Any]:
        """Have the sensor run, cut its power, and judge what is left."""
        draw = random.Random(f"{self.seed}/{index}")
        begun = time.monotonic()
        entry: dict[str, Any] = {
            "cycle": index,
            "seed": self.seed,
            "revision": marathon.revision(),
            "machine": self.rig.kind,
            "waiting_on_disk": self.rig.waiting_on_disk,
            "load": [round(it, 1) for it in _load()],
        }
        wrong: list[str] = []
        mends = self._former in {"setting up", "migrating"}
        boots = self._former is not None and (
            mends
            or not self.rig.resumes
            or index % self.boot_every == self.boot_every - 1
        )
        entry["begins"] = "booted" if boots else "resumed"
        if boots:
            aim = self._boot(draw, entry, wrong)
        else:
            self.rig.go_on()
            aim = power_aims.draw_aim(draw, waiting_on_disk=self.rig.waiting_on_disk)
        function = (
            power_aims.while_booting if aim == "booting" else power_aims.AIMS[aim][0]
        )
        entry["aim"] = aim
        entry["met"] = function(self.rig, draw)
        entry["loss"] = self.rig.settle(draw.randrange(1 << 30)).as_dict()
        found = self.rig.inspect()
        wrong += found.wrong
        entry.update(
            wrong=wrong,
            states=found.states,
            losses=found.losses,
            files=found.files,
            version=found.version,
            told=self.rig.told.lines,
            arrived=_arrived(self.rig),
            first_recording=self.rig.first_recording(found) if boots else None,
            seconds=round(time.monotonic() - begun, 1),
        )
        self._former = aim
        # Of numbers that this boot gave none is new to the next.
        self.rig.newest = max([0, *found.beginnings])
        self.record.add(entry)
        marathon.say(_in_short(entry))
        if wrong:
            self._keep_evidence(index)
        return entry

    def finish(self) -> None:
        """Boot once more, let everything come to rest, and judge what is there."""
        wrong: list[str] = []
        rig = self.rig
        rig.cut_off.clear()
        rig.boot()
        if not rig.wait_for_recording():
            wrong.append("the sensor does not record again")
        else:
            try:
                rig.wait_for_rest()
            except AssertionError as error:
                wrong.append(str(error))
        rig.machine.shutdown()
        rig.disk.power_off()
        rig.told.take(rig.told_path)
        found = rig.inspect()
        wrong += found.wrong
        if found.unfinished:
            wrong.append(f"left: {found.unfinished[:5]}")
        boots, retries = _boots()
        entry = {
            "end": len(self.record.read()),
            "wrong": wrong,
            "states": found.states,
            "losses": found.losses,
            "files": found.files,
            "arrived": _arrived(rig),
            "boots": boots - self.before[0],
            "retries": retries - self.before[1],
        }
        self.record.add(entry)
        marathon.say(f"at rest: {entry}")

    def _boot(
        self, draw: random.Random, entry: dict[str, Any], wrong: list[str]
    ) -> str:
        # What was cut while it was changed has to be whole before it goes on.
        mended = self._former in {"setting up", "migrating"}
        hurried = not mended and draw.random() < (0.25 if self.rig.resumes else 0.15)
        self.rig.cut_off.clear()
        if hurried:
            self.rig.cut_later(draw.uniform(0.2, self.rig.boot_span))
        self.rig.boot()
        if hurried:
            return "booting"
        entry["recorded"] = self.rig.wait_for_recording()
        if not entry["recorded"]:
            wrong.append("the sensor does not record again")
            wrong.append(self.rig.explain())
        elif self._former == "setting up":
            threshold = power_aims.settings_found(self.rig)
            if threshold not in power_aims.THRESHOLDS:
                wrong.append(f"the threshold is {threshold}")
        return power_aims.draw_aim(draw, waiting_on_disk=self.rig.waiting_on_disk)

    def _keep_evidence(self, index: int) -> None:
        directory = self.record.path.parent / f"broken-{index}"
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.rig.disk.image, directory / "data.img")
        if self.rig.told_path.exists():
            shutil.copy(self.rig.told_path, directory / "told")


def _arrived(rig: PowerRig) -> dict[str, list[int]]:
    """Return for each destination how many messages arrived, and how often any did."""
    found = {it.destination: [at.key for at in it.arrived()] for it in rig.receivers}
    return {name: [len(set(keys)), len(keys)] for name, keys in found.items()}


def _load() -> tuple[float, ...]:
    return os.getloadavg()[:1]


def _boots() -> tuple[int, int]:
    """Return how often machines were booted so far, and how often tried again."""
    kinds = (VirtualMachine, NspawnMachine)
    return sum(it.boots for it in kinds), sum(it.retries for it in kinds)


def _in_short(entry: dict[str, Any]) -> str:
    loss = entry["loss"]
    first = entry["first_recording"]
    parts = [
        f"cycle {entry['cycle']} ({entry['seconds']:.0f} s): {entry['begins']},",
        f"{entry['aim']}{'' if entry['met'] else ' (missed)'}:",
        f"{loss['survived']}/{loss['unflushed']} blocks survived ({loss['manner']},",
        f"{loss['torn']} torn); {entry['states']}",
    ]
    if entry["begins"] == "booted" and first is not None:
        parts.append(f"recorded {first:.0f} s after the boot began")
    if entry["wrong"]:
        parts.append(f"BROKEN: {entry['wrong'][:4]}")
    return " ".join(parts)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except MachineError as failure:
        raise SystemExit(f"the machine failed: {failure}") from failure
