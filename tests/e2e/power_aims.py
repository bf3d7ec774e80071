"""Moments at which the power goes: any, and those at which most is at stake.

An aim is a function of a rig and a source of chance that has the power cut; it tells
whether the moment that it waited for came, or the power went without it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

from machine import MachineError
from power_rig import HOME, PowerRig, Watch
from volatile_disk import Request

PATIENCE = 45.0
"""Seconds until the power goes although the moment did not come."""

Aim = Callable[[PowerRig, random.Random], bool]

THRESHOLDS = (0.2, 0.3147)
"""What the threshold of detections is, and what it is set to."""

OLDER = f"""
systemctl stop acoupi.target 'acoupi-*.service'
setpriv --reuid=acoupi --regid=acoupi --init-groups python3 - <<'END'
import sqlite3
db = sqlite3.connect("{HOME}/data/acoupi.db", isolation_level=None)
db.execute("DROP INDEX recording_uncorrected")
db.execute("DROP TABLE boot")
db.execute("PRAGMA user_version = 1")
db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
END
sync
"""
"""Makes the database one of the first version of its schema."""


def at_any_moment(rig: PowerRig, draw: random.Random) -> bool:
    """Cut at a random moment of some seconds."""
    return not rig.strike(None, draw.uniform(0.1, 6.0))


def before_a_flush(rig: PowerRig, draw: random.Random) -> bool:
    """Cut when most is unflushed: as a flush is asked for."""
    return rig.strike(nth(draw.randint(1, 25), "flush"), PATIENCE)


def after_a_write(rig: PowerRig, draw: random.Random) -> bool:
    """Cut after one of the next writes, which may be one of several."""
    return rig.strike(nth(draw.randint(1, 120), "write"), PATIENCE)


def while_moving(rig: PowerRig, draw: random.Random) -> bool:
    """Cut while a kept recording is written, flushed, renamed or stored."""
    return rig.strike(near(b"fLaC", draw.randint(0, 10)), PATIENCE)


def while_storing(rig: PowerRig, draw: random.Random) -> bool:
    """Cut while a recording or its detections are stored."""
    return rig.strike(near(b'"boot_id"', draw.randint(0, 8)), PATIENCE)


def while_waiting(rig: PowerRig, draw: random.Random) -> bool:
    """Cut while a recording is written that waits on the disk."""
    return rig.strike(near(b"RIFF", draw.randint(0, 12)), PATIENCE)


def while_sending(rig: PowerRig, draw: random.Random) -> bool:
    """Cut when a message has arrived, before or after its answer is on its way."""
    receiver = draw.choice(rig.receivers)
    left = draw.randint(1, 3)
    answered = draw.random() < 0.5
    moment = draw.uniform(0.0, 0.15)

    def answer() -> None:
        nonlocal left
        left -= 1
        if left == 0 and answered:
            threading.Timer(moment, rig.cut_now).start()
        elif left == 0:
            rig.cut_now()

    receiver.when_answered = answer
    return rig.strike(None, PATIENCE)


def while_setting_up(rig: PowerRig, draw: random.Random) -> bool:
    """Cut while a new configuration takes the place of the former."""
    command = (
        f"setpriv --reuid=acoupi --regid=acoupi --init-groups env ACOUPI_HOME={HOME}"
        f" acoupi config set detections.threshold {THRESHOLDS[1]}"
    )
    _run_beside(rig, command)
    watch = near(f"{THRESHOLDS[1]}".encode(), draw.randint(0, 14))
    return rig.strike(watch, PATIENCE)


def while_migrating(rig: PowerRig, draw: random.Random) -> bool:
    """Cut while a database of an older schema is brought to the newest."""
    rig.machine.succeed(OLDER)
    _run_beside(rig, "systemctl start acoupi.target")
    return rig.strike(nth(draw.randint(1, 60), "write"), 2 * PATIENCE)


def while_booting(rig: PowerRig, draw: random.Random) -> bool:
    """Wait for the cut that was begun before the boot (`PowerRig.cut_later`)."""
    return rig.strike(None, 2 * rig.boot_span + draw.random())


AIMS: dict[str, tuple[Aim, int]] = {
    "any moment": (at_any_moment, 3),
    "as a flush is asked for": (before_a_flush, 3),
    "after a write": (after_a_write, 3),
    "moving": (while_moving, 3),
    "storing": (while_storing, 3),
    "recording to the disk": (while_waiting, 3),
    "sending": (while_sending, 3),
    "setting up": (while_setting_up, 1),
    "migrating": (while_migrating, 1),
}
"""Aims at a running sensor, and how often each is drawn."""


def draw_aim(draw: random.Random, *, waiting_on_disk: bool) -> str:
    """Choose one of `AIMS`."""
    names = [
        name
        for name, (aim, weight) in AIMS.items()
        for _ in range(weight)
        if waiting_on_disk or aim is not while_waiting
    ]
    return draw.choice(names)


def nth(number: int, kind: str) -> Watch:
    """Return what sees the n-th request of a kind from now on."""
    left = number

    def watch(request: Request) -> bool:
        nonlocal left
        left -= request.kind == kind
        return left <= 0

    return watch


def near(pattern: bytes, after: int) -> Watch:
    """Return what sees the n-th request after one that writes a pattern."""
    left: int | None = None

    def watch(request: Request) -> bool:
        nonlocal left
        if left is not None:
            left -= 1
        elif pattern in request.content:
            left = after
        return left is not None and left <= 0

    return watch


def _run_beside(rig: PowerRig, command: str) -> None:
    def run() -> None:
        try:
            rig.machine.execute(command)
        except MachineError:
            # The power went; that is what it is for.
            return

    threading.Thread(target=run, daemon=True, name="beside").start()


def settings_found(rig: PowerRig) -> Any:
    """Return the threshold that a sensor has after its configuration was cut."""
    return float(
        rig.machine.succeed(
            f"env ACOUPI_HOME={HOME} acoupi config get detections.threshold"
        )
    )
