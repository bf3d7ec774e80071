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


SAMPLERATE = 48_000
"""In Hz, of the sensors here."""


def records_while_full(
    sensor: Sensor,
    place: str,
    fill: str = FILL,
    empty: str = EMPTY,
    *,
    kill: bool = True,
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
    kill : bool
        Whether every process is killed while it is full.
    """
    begun = continuity.now(sensor)
    losses = _losses(sensor)
    lost = sensor.status()["recorder"]["samples_lost"]
    sensor.machine.succeed(fill.format(place=place))
    made = _made(sensor)
    eventually("five recordings", lambda: _made(sensor) >= made + 5)
    found = sensor.status()
    assert sensor.is_recording(), found
    assert found["recorder"]["samples_lost"] == lost, found
    if kill:
        _survives_a_kill(sensor)
    told = sensor.acoupi("status")
    assert "Problem" in told, told
    sensor.machine.succeed(empty.format(place=place))
    continuity.detects_again(sensor)
    continuity.is_sound(sensor)

    def counted() -> bool:
        # What a killed recorder left is taken up once it has lain still for a while.
        sensor.look_after_files()
        return _is_counted(sensor, begun, losses)

    # One break at most, by the kill, and counted; what waited in memory is there.
    eventually("the break is counted", counted)
    assert bool(continuity.breaks(sensor, begun)) is kill
    assert sensor.count("recording", "state = 'missing'") == 0


def _survives_a_kill(sensor: Sensor) -> None:
    """Killed on a full disk, all come back."""
    former = {unit: sensor.show(unit, "MainPID") for unit in sensor.services()}
    sensor.machine.succeed(f"kill -KILL {' '.join(former.values())}")
    for unit, pid in former.items():
        eventually(f"{unit} is back", lambda u=unit, p=pid: sensor.is_back(u, p))
    eventually("recording", lambda: _is_recording_anew(sensor, former))


def _is_counted(sensor: Sensor, begun: float, losses: dict[str, int]) -> bool:
    """Tell whether the losses are just the samples that are missing, in one piece."""
    missing = continuity.breaks(sensor, begun)
    now = _losses(sensor)
    counted = (now.get("samples", 0) - losses.get("samples", 0)) / SAMPLERATE
    others = {kind: count for kind, count in now.items() if kind != "samples"}
    return (
        len(missing) <= 1
        and abs(counted - sum(missing)) < 0.2
        and others == {kind: n for kind, n in losses.items() if kind != "samples"}
    )


def records_on_a_read_only_disk(sensor: Sensor, place: str) -> None:
    """A sensor that is started on a disk that cannot be written records anyway."""
    begun = continuity.now(sensor)
    sensor.acoupi("stop")
    sensor.machine.succeed(
        f"mount -o remount,ro {place}", "systemctl start --no-block acoupi.target"
    )
    # The recorder needs nothing of that disk: what it records waits in memory.
    before = continuity.waiting(sensor)
    eventually("waiting recordings", lambda: continuity.waiting(sensor) >= before + 5)
    told = sensor.machine.execute(
        f"ACOUPI_HOME={sensor.home} acoupi status 2>&1 || true"
    )[1]
    assert "Problem" in told or "Error" in told, told
    waiting = continuity.waiting(sensor) - before
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


FAULT_LIBRARIES = (
    "/usr/lib/fiu/fiu_run_preload.so",
    "/usr/lib/fiu/fiu_posix_preload.so",
    "/usr/lib/libfiu.so.0",
)
"""Of Debian's libfiu0: system calls fail when they are told to, process by process."""

FLUSHING = ("fsync", "fdatasync")
FLUSHING_UNITS = ("acoupi-worker-default.service", "acoupi-worker-detection.service")
"""What writes to the disk; recordings wait in memory, whose flushing never fails."""


def let_flushing_fail(sensor: Sensor) -> None:
    """Prepare the services so that `goes_on_when_flushing_fails` can break them."""
    machine = sensor.machine
    machine.succeed(sensor.as_owner("mkdir", f"{sensor.home}/faults"))
    for library in FAULT_LIBRARIES:
        machine.copy_from_host(library, library)
    for unit in FLUSHING_UNITS:
        directory = f"/run/systemd/system/{unit}.d"
        machine.succeed(
            f"mkdir --parents {directory}",
            "printf '[Service]\\nEnvironment=LD_PRELOAD="
            f"{':'.join(FAULT_LIBRARIES[:2])} FIU_CTRL_FIFO={sensor.home}/faults/\\n'"
            f" >{directory}/faults.conf",
        )
    machine.succeed(
        "systemctl daemon-reload", f"systemctl restart {' '.join(FLUSHING_UNITS)}"
    )
    for unit in FLUSHING_UNITS:
        machine.wait_for_unit(unit)


def goes_on_when_flushing_fails(sensor: Sensor, seconds: float = 15) -> None:
    """A disk on which no flush succeeds loses nothing; all goes on when it does."""
    machine = sensor.machine
    begun = continuity.now(sensor)
    pids = {unit: sensor.show(unit, "MainPID") for unit in FLUSHING_UNITS}

    def tell(order: str) -> None:
        for pid in pids.values():
            for name in FLUSHING:
                point = f"name=posix/io/sync/{name}"
                known = f"{point},failinfo=5" if order == "enable" else point
                path = f"{sensor.home}/faults/-{pid}"
                machine.succeed(
                    f"echo '{order} {known}' >{path}.in; read -r answer <{path}.out;"
                    ' test "$answer" = 0'
                )

    tell("enable")
    analysed = sensor.count("model_output")
    ends = continuity.now(sensor) + seconds
    while continuity.now(sensor) < ends:
        assert sensor.is_recording()
    # Nothing that is not on the disk counts as done.
    assert sensor.count("model_output") <= analysed + 1
    log = machine.succeed("journalctl --boot --no-pager --output=cat --lines=2000")
    assert "disk I/O error" in log or "Input/output error" in log
    tell("disable")
    continuity.detects_again(sensor)
    continuity.is_sound(sensor)
    assert continuity.breaks(sensor, begun) == []
    assert _losses(sensor) == {}
    for unit, pid in pids.items():
        assert sensor.show(unit, "MainPID") == pid


def _made(sensor: Sensor) -> int:
    recorder = sensor.status()["recorder"]
    return int(recorder["recordings"]) if recorder["current"] else 0


def _is_recording_anew(sensor: Sensor, former: dict[str, str]) -> bool:
    pid = str(sensor.status()["recorder"]["pid"])
    return pid not in former.values() and sensor.is_recording()


def _losses(sensor: Sensor) -> dict[str, int]:
    losses: dict[str, int] = sensor.status()["store"]["losses"]
    return losses
