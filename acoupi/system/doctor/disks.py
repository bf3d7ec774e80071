"""The disks: room, writable, sound, and nothing that piles up."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from acoupi.components.places import existing_place
from acoupi.system.doctor.findings import Finding, error, warning
from acoupi.system.doctor.sensor import Machine, Sensor

__all__ = ["probe"]

FULL = 20e6
"""Bytes of free space below which nothing can be kept."""

FEW_INODES = 0.02
"""Share of free inodes below which a disk full of small files is near its end."""

OLD = 3600.0
"""Seconds after which a file that is still being written is one that was left."""

LARGE_LOGS = 100e6
"""Bytes of logs in the home, far above their bounds."""

LARGE_JOURNAL = 0.1
"""Share of the disk that the journal may take."""

_MOST_ENTRIES = 50_000
_ROOM = (
    "fetch and delete recordings, let older ones go (`acoupi config set "
    "retention.max_age DAYS`), or use a larger disk"
)


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the disks that the sensor writes to."""
    if sensor.program is None:
        return
    seen: set[int] = set()
    for name, path in _places(sensor):
        there = path
        try:
            there = existing_place(path)
            device, space = there.stat().st_dev, os.statvfs(there)
        except OSError as problem:
            yield error(
                "disk-fails",
                "A disk cannot be read.",
                f"{there}: {problem.strerror}",
                "look at `dmesg`; replace the disk or card",
            )
            continue
        if device in seen:
            continue
        seen.add(device)
        yield from _probe_space(sensor, name, there, space)
        yield from _probe_errors(sensor.machine, there, device)
    yield from _probe_leftovers(sensor)
    yield from _probe_logs(sensor)
    yield from _probe_wear(sensor.machine)


def _places(sensor: Sensor) -> list[tuple[str, Path]]:
    named = [
        ("recordings", sensor.path_setting("paths", "recordings")),
        ("database", sensor.path_setting("paths", "db_metadata")),
        ("temporary recordings", sensor.path_setting("paths", "tmp_audio")),
        ("home", sensor.settings.home),
    ]
    return [(name, path) for name, path in named if path is not None]


def _probe_space(
    sensor: Sensor, name: str, path: Path, space: os.statvfs_result
) -> Iterator[Finding]:
    if space.f_flag & os.ST_RDONLY:
        yield error(
            "disk-read-only",
            f"The disk of the {name} is read-only.",
            f"{path} is mounted read-only",
            "a damaged card is often made so by the kernel: see `dmesg | grep -i "
            "-e mmc -e ext4`, then `fsck`, or replace it. If it was mounted so: "
            f"sudo mount -o remount,rw {path}",
        )
        return
    free = space.f_bavail * space.f_frsize
    total = space.f_blocks * space.f_frsize
    wanted = sensor.setting("retention", "min_free_space")
    reserve = wanted * 1e6 if isinstance(wanted, int | float) else 0.0
    # Retention keeps the free space of the recordings' disk near its reserve.
    low = 0.8 * reserve if name == "recordings" and reserve else 5 * FULL
    seen = f"{free / 1e6:.0f} of {total / 1e6:.0f} MB are free at {path}"
    if name == "recordings" and reserve >= total:
        yield error(
            "retention-impossible",
            "More space is to be kept free than the disk has.",
            f"retention.min_free_space is {wanted} MB; {seen}",
            f"acoupi config set retention.min_free_space {max(1, total / 1e7):.0f}",
        )
    elif free < FULL:
        yield error("disk-full", f"The disk of the {name} is full.", seen, _ROOM)
    elif free < low:
        yield warning(
            "disk-low", f"The disk of the {name} is nearly full.", seen, _ROOM
        )
    if space.f_files and space.f_favail < FEW_INODES * space.f_files:
        yield error(
            "inodes-gone",
            f"The disk of the {name} takes hardly any more files.",
            f"{space.f_favail} of {space.f_files} inodes are free at {path}",
            f"find what holds many small files: du --inodes -x {path} | sort -n",
        )


def _probe_errors(machine: Machine, path: Path, device: int) -> Iterator[Finding]:
    """Look at what the kernel counted, ext4(5)."""
    link = machine.path(f"sys/dev/block/{os.major(device)}:{os.minor(device)}")
    name = link.resolve().name if link.exists() else None
    for counter in sorted(machine.path("sys/fs/ext4").glob("*/errors_count")):
        if name is not None and counter.parent.name != name:
            continue
        try:
            count = int(counter.read_text())
        except (OSError, ValueError):
            continue
        if count:
            yield error(
                "disk-errors",
                "The file system has errors.",
                f"{count} on {counter.parent.name} (with {path})",
                "save the data, then let fsck mend it (`sudo touch /forcefsck`, "
                "reboot); if they come again, replace the disk or card",
            )


def _probe_wear(machine: Machine) -> Iterator[Finding]:
    """Look at what a card or eMMC says of its own age, JEDEC JESD84-B51."""
    for block in sorted(machine.path("sys/block").glob("mmcblk*")):
        state = machine.read(
            str((block / "device/pre_eol_info").relative_to(machine.root))
        )
        if state is not None and state.strip().lower() in {"0x02", "0x03"}:
            yield warning(
                "card-worn",
                "The card or eMMC is near its end.",
                f"{block.name} says pre_eol_info {state.strip()}",
                "save the data and replace it",
            )


def _probe_leftovers(sensor: Sensor) -> Iterator[Finding]:
    recordings = sensor.path_setting("paths", "recordings")
    temporary = sensor.path_setting("paths", "tmp_audio")
    left: list[str] = []
    for directory in (recordings, temporary):
        if directory is not None:
            left += _torn(directory)
    if left:
        yield warning(
            "files-left",
            "Files whose writing was cut short were left.",
            f"{len(left)}: {', '.join(left[:3])}{', ...' if len(left) > 3 else ''}",
            "acoupi restart repairs or removes them at its start; if they stay, look "
            "at them and delete them",
        )


def _torn(directory: Path) -> list[str]:
    found = []
    oldest = time.time() - OLD
    for number, (where, _, names) in enumerate(os.walk(directory)):
        if number > _MOST_ENTRIES:
            break
        for name in names:
            if name.endswith(".part") or (name[0] == "." and name.endswith(".tmp")):
                path = Path(where, name)
                try:
                    if path.stat().st_mtime < oldest:
                        found.append(str(path))
                except OSError:
                    continue
    return found


def _probe_logs(sensor: Sensor) -> Iterator[Finding]:
    size = _size(sensor.settings.log_dir)
    if size > LARGE_LOGS:
        yield warning(
            "logs-large",
            "The logs of the sensor are larger than they should become.",
            f"{size / 1e6:.0f} MB in {sensor.settings.log_dir}",
            "look at what they say, delete them, and report it: they are bounded",
        )
    journal = sensor.machine.path("var/log/journal")
    size = _size(journal)
    if not size:
        return
    space = os.statvfs(journal)
    total, free = space.f_blocks * space.f_frsize, space.f_bavail * space.f_frsize
    if size > LARGE_JOURNAL * total and free < size:
        yield warning(
            "journal-large",
            "The system's journal takes much of the disk.",
            f"{size / 1e6:.0f} of {total / 1e6:.0f} MB in {journal}",
            "sudo journalctl --vacuum-size=100M, and SystemMaxUse=100M in "
            "/etc/systemd/journald.conf",
        )


def _size(directory: Path) -> int:
    size = 0
    for where, _, names in os.walk(directory):
        for name in names:
            try:
                size += Path(where, name).stat().st_blocks * 512
            except OSError:
                continue
    return size
