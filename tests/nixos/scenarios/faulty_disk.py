"""A disk that is slow, refuses to be written, or fails, below its file system."""

from __future__ import annotations

import shlex

import continuity
from sensor import Sensor, eventually

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


WRITE_ONE = "dd if=/dev/zero of={trial} bs=4k count=1 oflag=dsync"
WRITE_MANY = "dd if=/dev/zero of={trial} bs=100k count=30 conv=fsync"
"""Write 4 KB, and 3 MB, past what the kernel keeps in memory."""

SLOW = 0.15
BYTES_A_SECOND = 1_000_000


def records_on_a_slow_disk(sensor: Sensor, device: str) -> dict[str, float]:
    """Nothing is lost on a disk that takes 150 ms a write, or takes 1 MB a second.

    Returns
    -------
    dict
        How many seconds it took on each disk to write 4 KB and 3 MB.
    """
    begun = continuity.now(sensor)
    machine = sensor.machine
    taken = {"sound": _seconds_to_write(sensor, WRITE_ONE)}
    make_disk(sensor, device, "slow")
    continuity.detects_again(sensor, 240)
    taken["slow"] = _seconds_to_write(sensor, WRITE_ONE)
    assert taken["slow"] >= SLOW, taken
    make_disk(sensor, device, "sound")
    taken["sound, 3 MB"] = _seconds_to_write(sensor, WRITE_MANY)
    limit = "systemctl set-property --runtime system.slice IOWriteBandwidthMax="
    machine.succeed(f"{limit}'/dev/mapper/faulty {BYTES_A_SECOND}'")
    # Of the disk below.
    number = machine.succeed(f"lsblk --nodeps --noheadings --output MAJ:MIN {device}")
    limits = machine.succeed("cat /sys/fs/cgroup/system.slice/io.max").splitlines()
    in_force = f"{number.strip()} rbps=max wbps={BYTES_A_SECOND} riops=max wiops=max"
    assert in_force in limits, limits
    continuity.detects_again(sensor, 240)
    taken["limited, 3 MB"] = _seconds_to_write(sensor, WRITE_MANY)
    # A part may be let through at once.
    assert taken["limited, 3 MB"] >= 2, taken
    machine.succeed(limit)
    assert continuity.breaks(sensor, begun) == []
    assert sensor.status()["recorder"]["samples_lost"] == 0
    return taken


def _seconds_to_write(sensor: Sensor, command: str) -> float:
    """Have a service write to the disk of the home, and return how long it took."""
    trial = f"{sensor.home}/trial"
    timed = (
        f"begun=$EPOCHREALTIME; {command.format(trial=trial)} 2>/dev/null;"
        ' awk "BEGIN { print $EPOCHREALTIME - $begun }"'
    )
    said = sensor.machine.succeed(
        "systemd-run --quiet --wait --pipe --collect"
        f" $(command -v bash) -c {shlex.quote(timed)}",
        f"rm {trial}",
    )
    return float(said)


def records_while_the_kernel_refuses_to_write(sensor: Sensor, place: str) -> None:
    """All file systems become read-only under the sensor, and writable again.

    Files that are open still take writes meanwhile, which never reach the disk,
    although flushing them succeeds: none of it may count as stored.
    """
    begun = continuity.now(sensor)
    machine = sensor.machine
    machine.succeed("echo 1 >/proc/sys/kernel/sysrq; echo u >/proc/sysrq-trigger")
    machine.wait_until_fails(f"touch {place}/trial")
    stored = continuity.newest(sensor)
    waiting = continuity.waiting(sensor)
    eventually(
        "waiting recordings", lambda: continuity.waiting(sensor) >= waiting + 5, 120
    )
    assert continuity.newest(sensor) == stored
    # By the device: what fstab says of the place may be about no disk, and "nofail".
    device = machine.succeed(f"findmnt --noheadings --output SOURCE {place}").strip()
    machine.succeed(
        "mount -o remount,rw /",
        f"mount -o remount,rw {device} {place}",
        f"touch {place}/trial",
        f"rm {place}/trial",
    )
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
    waiting = continuity.waiting(sensor)
    eventually(
        "waiting recordings", lambda: continuity.waiting(sensor) >= waiting + 8, 120
    )
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
