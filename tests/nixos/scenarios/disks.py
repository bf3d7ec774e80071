"""Disks that are full, have no inodes left, or cannot be written."""

from __future__ import annotations

import continuity
from sensor import Sensor, eventually

FILL = "dd if=/dev/zero of={place}/ballast bs=4k 2>/dev/null || true"
EMPTY = "rm --force {place}/ballast"
FILL_INODES = (
    "mkdir --parents {place}/many;"
    " for number in $(seq 100000); do : >{place}/many/$number || break; done"
    " 2>/dev/null"
)
EMPTY_INODES = "rm --recursive --force {place}/many"


def make_memory_disk(machine, place: str, size: str, inodes: int = 0) -> None:
    """Put a small file system in memory at a place, for any user."""
    machine.succeed(
        f"mkdir --parents {place}",
        f"mount -t tmpfs -o size={size},nr_inodes={inodes},mode=777 disk {place}",
    )


def records_while_full(
    sensor: Sensor, place: str, fill: str = FILL, empty: str = EMPTY
) -> None:
    """A full disk loses nothing, is named, and is forgotten once there is room.

    Parameters
    ----------
    sensor : Sensor
        Records second after second and keeps its database and files at ``place``.
    place : str
        The disk.
    fill, empty : str
        Commands that fill the disk and make room again.
    """
    begun = continuity.now(sensor)
    losses = _losses(sensor)
    sensor.machine.succeed(fill.format(place=place))
    made = _made(sensor)
    eventually("five recordings", lambda: _made(sensor) >= made + 5)
    found = sensor.status()
    assert sensor.is_recording(), found
    assert found["recorder"]["samples_lost"] == 0, found
    # Killed on a full disk, all come back.
    former = {unit: sensor.show(unit, "MainPID") for unit in sensor.services()}
    sensor.machine.succeed(f"kill -KILL {' '.join(former.values())}")
    for unit, pid in former.items():
        eventually(f"{unit} is back", lambda u=unit, p=pid: sensor.is_back(u, p))
    eventually("recording", lambda: _is_recording_anew(sensor, former))
    told = sensor.acoupi("status")
    assert "Problem" in told, told
    sensor.machine.succeed(empty.format(place=place))
    continuity.detects_again(sensor)
    continuity.is_sound(sensor)
    # One break, by the kill; what waited in memory is there.
    missing = continuity.breaks(sensor, begun)
    assert len(missing) <= 1, missing
    assert _losses(sensor) == losses
    assert sensor.count("recording", "state = 'missing'") == 0


def records_on_a_read_only_disk(sensor: Sensor, place: str) -> None:
    """A sensor that is started on a disk that cannot be written records anyway."""
    begun = continuity.now(sensor)
    sensor.acoupi("stop")
    sensor.machine.succeed(
        f"mount -o remount,ro {place}", "systemctl start --no-block acoupi.target"
    )
    # The recorder needs nothing of that disk: what it records waits in memory.
    before = _waiting(sensor)
    eventually("waiting recordings", lambda: _waiting(sensor) >= before + 5)
    told = sensor.machine.execute(
        f"ACOUPI_HOME={sensor.home} acoupi status 2>&1 || true"
    )[1]
    assert "Problem" in told or "Error" in told, told
    waiting = _waiting(sensor) - before
    # What a service sees of a disk was decided when it was started.
    sensor.machine.succeed(
        f"mount -o remount,rw {place}", "systemctl restart 'acoupi-*.service'"
    )
    back = continuity.now(sensor)
    continuity.detects_again(sensor)
    continuity.is_sound(sensor)
    # What was recorded meanwhile is taken up.
    meanwhile = f"{continuity.UNIX_TIME} BETWEEN {begun} AND {back}"
    eventually("taken up", lambda: sensor.count("recording", meanwhile) >= waiting)
    # By the stop, and by the restart.
    assert len(continuity.breaks(sensor, begun)) <= 2


def drops_the_oldest_when_memory_is_full(sensor: Sensor, place: str) -> None:
    """Recordings that wait where there is no room go, the oldest first, and counted.

    Parameters
    ----------
    sensor : Sensor
        Its recordings wait for their decision at ``place``.
    place : str
        A small disk.
    """
    begun = continuity.now(sensor)
    # Nothing is decided any more.
    sensor.machine.succeed("systemctl stop acoupi-worker-default.service")
    eventually("dropped", lambda: sensor.status()["recorder"]["recordings_dropped"] > 2)
    found = sensor.status()
    assert sensor.is_recording(), found
    assert found["recorder"]["samples_lost"] == 0, found
    sensor.machine.succeed(
        "systemctl start acoupi-worker-default.service",
        f"test $(df --output=pcent {place} | tail -n 1 | tr -d ' %') -le 97",
    )
    continuity.detects_again(sensor)
    dropped = sensor.status()["recorder"]["recordings_dropped"]
    missing = sensor.count("recording", "state = 'missing'")
    counted = sum(_losses(sensor).values())
    assert missing <= dropped
    assert counted >= dropped > 0, (counted, dropped)
    assert continuity.breaks(sensor, begun) == []


def _made(sensor: Sensor) -> int:
    recorder = sensor.status()["recorder"]
    return int(recorder["recordings"]) if recorder["current"] else 0


def _is_recording_anew(sensor: Sensor, former: dict[str, str]) -> bool:
    pid = str(sensor.status()["recorder"]["pid"])
    return pid not in former.values() and sensor.is_recording()


def _waiting(sensor: Sensor) -> int:
    names = sensor.machine.succeed("find /dev/shm /run -name '*.wav' -path '*acoupi*'")
    return len(names.splitlines())


def _losses(sensor: Sensor) -> dict[str, int]:
    losses: dict[str, int] = sensor.status()["store"]["losses"]
    return losses
