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
    lost = sensor.status()["recorder"]["samples_lost"]
    sensor.machine.succeed(fill.format(place=place))
    made = _made(sensor)
    eventually("five recordings", lambda: _made(sensor) >= made + 5)
    found = sensor.status()
    assert sensor.is_recording(), found
    assert found["recorder"]["samples_lost"] == lost, found
    # Killed on a full disk, all come back.
    former = {unit: sensor.show(unit, "MainPID") for unit in sensor.services()}
    killed = continuity.now(sensor)
    sensor.machine.succeed(f"kill -KILL {' '.join(former.values())}")
    for unit, pid in former.items():
        eventually(f"{unit} is back", lambda u=unit, p=pid: sensor.is_back(u, p))
    eventually("recording", lambda: _is_recording_anew(sensor, former))
    told = sensor.acoupi("status")
    assert "Problem" in told, told
    sensor.machine.succeed(empty.format(place=place))
    continuity.detects_again(sensor)
    continuity.is_sound(sensor)
    # One break, by the kill, and counted; what waited in memory is there.
    continuity.seconds_until_heard(sensor, killed)
    eventually("the break is counted", lambda: _is_counted(sensor, begun, losses))
    assert sensor.count("recording", "state = 'missing'") == 0


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


FAULTY_DISK = """\
[Unit]
Description=The disk of the sensor's home, on which faults can be laid
DefaultDependencies=no
After=local-fs.target
Before=acoupi.target acoupi-beat.service acoupi-broker.service \\
acoupi-worker-default.service acoupi-worker-detection.service \\
acoupi-worker-recording.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -ec 'modprobe --all dm-mod dm-delay dm-flakey; \\
size=$(blockdev --getsz {device}); \\
dmsetup create faulty --table "0 $size linear {device} 0"; \\
udevadm settle; e2fsck -p /dev/mapper/faulty || test $? -le 2; \\
mkdir --parents {place}; mount /dev/mapper/faulty {place}'
[Install]
WantedBy=multi-user.target
"""

TABLES = {
    "sound": "0 $size linear {device} 0",
    "slow": "0 $size delay {device} 0 0 {device} 0 150",
    "refusing": "0 $size flakey {device} 0 0 3600 1 error_writes",
}
"""What the device mapper makes of the disk: as it is, 150 ms a write, no writing."""


def put_home_on_faulty_disk(machine, unit: str, device: str) -> None:
    """Format a disk, and mount it where homes are, at each boot, by a unit."""
    machine.succeed(
        f"mke2fs -q -t ext4 {device}",
        "systemctl daemon-reload",
        f"systemctl enable --quiet --now {unit}",
    )


def make_disk(sensor: Sensor, device: str, what: str) -> None:
    """Let the disk be one of `TABLES` from now on."""
    table = TABLES[what].format(device=device)
    sensor.machine.succeed(
        f"size=$(blockdev --getsz {device});"
        " dmsetup suspend --noflush --nolockfs faulty;"
        f' dmsetup load faulty --table "{table}"; dmsetup resume faulty'
    )


def records_on_a_slow_disk(sensor: Sensor, device: str) -> None:
    """Nothing is lost on a disk that takes 150 ms a write, or takes 1 MB a second."""
    begun = continuity.now(sensor)
    make_disk(sensor, device, "slow")
    continuity.detects_again(sensor, 240)
    make_disk(sensor, device, "sound")
    limit = "systemctl set-property --runtime system.slice IOWriteBandwidthMax="
    machine = sensor.machine
    machine.succeed(f"{limit}'/dev/mapper/faulty 1M'")
    continuity.detects_again(sensor, 240)
    machine.succeed(limit)
    assert continuity.breaks(sensor, begun) == []
    assert sensor.status()["recorder"]["samples_lost"] == 0


def records_while_the_kernel_refuses_to_write(sensor: Sensor, place: str) -> None:
    """All file systems become read-only under the sensor, and writable again."""
    begun = continuity.now(sensor)
    machine = sensor.machine
    machine.succeed("echo 1 >/proc/sys/kernel/sysrq; echo u >/proc/sysrq-trigger")
    machine.wait_until_fails(f"touch {place}/trial")
    waiting = _waiting(sensor)
    eventually("waiting recordings", lambda: _waiting(sensor) >= waiting + 5, 120)
    machine.succeed("mount -o remount,rw /", f"mount -o remount,rw {place}")
    continuity.detects_again(sensor, 240)
    continuity.is_sound(sensor)
    assert continuity.breaks(sensor, begun) == []


def records_until_the_disk_is_replaced(sensor: Sensor, device: str, sound: str) -> None:
    """A disk that fails costs nothing that was acknowledged, nor the sound meanwhile.

    Until the boot, when it is a good one again: then all goes on from what it holds.
    """
    machine = sensor.machine
    eventually("ten analysed", lambda: sensor.count("model_output") >= 10, 120)
    known = sensor.query("SELECT id FROM recording")
    analysed = sensor.query("SELECT id FROM model_output")
    make_disk(sensor, device, "refusing")
    waiting = _waiting(sensor)
    eventually("waiting recordings", lambda: _waiting(sensor) >= waiting + 8, 120)
    assert sensor.show("acoupi-worker-recording.service", "NRestarts") == "0"
    # What has arrived is on a disk of this machine, too, and is not what is tested.
    machine.succeed(
        "systemctl stop listener.service", "sync /var/lib/listener/messages"
    )
    machine.crash()
    machine.start()
    sensor.play_sound(sound)
    continuity.detects_again(sensor, 300)
    continuity.is_sound(sensor)
    recordings = {row["id"] for row in sensor.query("SELECT id FROM recording")}
    lost = {row["id"] for row in known} - recordings
    assert not lost, f"{len(lost)} of {len(known)} recordings are gone"
    outputs = {row["id"] for row in sensor.query("SELECT id FROM model_output")}
    assert {row["id"] for row in analysed} <= outputs
    # What was told was stored before.
    assert set(sensor.received_recordings()) <= recordings


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
