"""The card is divided at the first boot: real partitions on a loop device."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "nixos-modules/sd-image/prepare-card.sh"
MEBI = 1 << 20
FIRMWARE, SYSTEM = 16, 64
"""Sizes of the image's partitions, in MiB; a card of the field is 60 times as large."""

CAP_SYS_RESOURCE = 1 << 24
"""What online growth takes, linux/capability.h; containers often lack it."""

_STATUS = Path("/proc/self/status").read_text()
CAN_GROW = bool(int(_STATUS.partition("CapEff:")[2].split()[0], 16) & CAP_SYS_RESOURCE)
"""Whether the kernel lets a file system that is in use grow; skipped without."""

# Runs the script with the mounts that the kernel and systemd make on a sensor. Of the
# programs that it calls, the n-th is the last: the power is gone then.
BOOT = """\
set -eu
disk=$1 root=$2 last=$3 tools=$4
export LAST=0 CALLS="$root/../calls" PATH="$tools:$PATH" DISK="$disk"
udevadm settle
mount "${disk}p2" "$root"
data=$root/data
export ROOT_DEVICE="${disk}p2" DATA="$data" STATE="$root/state" SAID="$root/said"
rm -f "$CALLS"
export LAST="$last"
if [ "$last" = 0 ]; then
    bash "$5" >&2
    echo kept >>"$data/recordings"
    sync
    findmnt --json --bytes --output SOURCE,SIZE,OPTIONS --target "$data"
else
    bash "$5" >/dev/null 2>&1 || true
fi
"""
# Stands before each program that changes the card.
COUNTED = """\
#!/bin/bash
exec 9>>"$CALLS"; flock 9
echo >&9
number=$(wc -l <"$CALLS")
flock -u 9
if ((LAST > 0 && number > LAST)); then
    kill -KILL 0
fi
if ((LAST > 0 && number == LAST)); then
    "REAL" "$@" &
    sleep "0.0$((RANDOM % 10))"
    kill -KILL 0
fi
exec "REAL" "$@"
"""
# Makes the files of devices, which is udev's work.
UDEVADM = """\
#!/bin/sh
for found in /sys/block/"${DISK#/dev/}"/*/dev; do
    name=/dev/$(basename "$(dirname "$found")")
    rm -f "$name"
    mknod "$name" b $(tr : " " <"$found")
done
"""
CHANGING = ("sfdisk", "partx", "resize2fs", "mkfs.ext4", "fsck.ext4", "touch", "mount")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can attach a card"),
    pytest.mark.skipif(
        None in map(shutil.which, ("losetup", "sfdisk", "mkfs.ext4", "partx")),
        reason="losetup, sfdisk, mkfs.ext4 or partx is missing",
    ),
    pytest.mark.timeout(600),
]


class Card:
    """A card, as it was flashed, in a reader."""

    def __init__(self, directory: Path, mebibytes: int) -> None:
        self.directory = directory
        self.image = directory / "card.img"
        for name in ("root", "tools"):
            (directory / name).mkdir()
        self._flash(mebibytes)
        for name in CHANGING:
            tool = directory / "tools" / name
            tool.write_text(COUNTED.replace("REAL", str(shutil.which(name))))
            tool.chmod(0o755)
        udevadm = directory / "tools/udevadm"
        udevadm.write_text(UDEVADM)
        udevadm.chmod(0o755)
        self.device = ""

    def _flash(self, mebibytes: int) -> None:
        with self.image.open("wb") as file:
            file.truncate(mebibytes * MEBI)
        table = f"label: dos\n1M,{FIRMWARE}M,b\n{1 + FIRMWARE}M,{SYSTEM}M,83,*\n"
        _run("sfdisk", "--quiet", str(self.image), given=table)
        system = self.directory / "system.img"
        with system.open("wb") as file:
            file.truncate(SYSTEM * MEBI)
        _run("mkfs.ext4", "-q", str(system))
        with self.image.open("r+b") as file:
            file.seek((1 + FIRMWARE) * MEBI)
            file.write(system.read_bytes())
        system.unlink()

    def boot(self, last: int = 0) -> dict[str, str]:
        """Prepare the card; cut short when ``last`` programs have changed it."""
        if not self.device:
            self.device = _run("losetup", "-f", "--show", str(self.image)).strip()
            # What a kernel that starts does of itself.
            _run("partx", "--add", self.device)
        tools, root = (str(self.directory / it) for it in ("tools", "root"))
        arguments = [self.device, root, str(last), tools, str(SCRIPT)]
        try:
            said = _run(
                *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                *("sh", "-c", BOOT, "-", *arguments),
                check=not last,
            )
        finally:
            if last:
                self.detach()
        return {} if last else json.loads(said)["filesystems"][0]

    def detach(self) -> None:
        if self.device:
            # What was killed lets go of it soon.
            for _ in range(100):
                _run("partx", "--delete", self.device, check=False)
                if not _partitions(self.device):
                    break
                time.sleep(0.05)
            _run("losetup", "--detach", self.device)
            for node in Path("/dev").glob(f"{Path(self.device).name}p*"):
                node.unlink()
            self.device = ""

    def discard(self) -> None:
        """Forget the card."""
        self.detach()
        shutil.rmtree(self.directory)

    def read(self, partition: int, name: str) -> str:
        """Return what a file on a partition says; it is not mounted then."""
        path = f"{self.device}p{partition}"
        return _run("debugfs", "-R", f"cat {name}", path, check=False)

    def partitions(self) -> list[int]:
        """Return the sizes of the partitions, in MiB."""
        table = json.loads(_run("sfdisk", "--json", str(self.image)))
        return [it["size"] // 2048 for it in table["partitiontable"]["partitions"]]


def _partitions(device: str) -> list[Path]:
    """Return what the kernel knows of a device's partitions."""
    name = Path(device).name
    return list(Path(f"/sys/block/{name}").glob(f"{name}p*"))


def _run(*command: str, given: str = "", check: bool = True) -> str:
    done = subprocess.run(
        command,
        check=False,
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        # The power is cut for its whole group.
        start_new_session=True,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{command[0]}: {done.stdout}{done.stderr}")
    return done.stdout


@pytest.fixture
def flashed(tmp_path):
    """Return a function that flashes a card of a size in MiB."""
    with contextlib.ExitStack() as stack:

        def flash(mebibytes: int) -> Card:
            directory = tmp_path / f"{mebibytes}"
            directory.mkdir(exist_ok=True)
            card = Card(directory, mebibytes)
            stack.callback(card.detach)
            return card

        if not Path("/dev/loop-control").exists():
            pytest.skip("there are no loop devices")
        yield flash


def test_the_rest_of_the_card_becomes_the_partition_of_data(flashed):
    card = flashed(1024)
    found = card.boot()
    assert found["source"] == f"{card.device}p3"
    assert {"noatime", "nodev", "nosuid"} <= set(found["options"].split(","))
    firmware, system, data = card.partitions()
    assert firmware == FIRMWARE
    assert system == (1024 - 1 - FIRMWARE) // 2
    assert sum((firmware, system, data)) >= 1024 - 3
    assert card.read(2, "said") == ""


@pytest.mark.skipif(not CAN_GROW, reason="the kernel lets nothing grow here")
@pytest.mark.parametrize("size", [160, 1024])
def test_the_system_fills_its_partition(flashed, size):
    card = flashed(size)
    card.boot()
    # Grown, not only said to be.
    assert _is_grown(card)


def test_the_next_boots_find_what_was_stored(flashed):
    card = flashed(1024)
    for _ in range(3):
        card.boot()
        card.detach()
    card.boot()
    assert card.read(3, "recordings") == "kept\n" * 4


def test_a_card_that_is_too_small_still_gives_the_sensor_a_place(flashed):
    card = flashed(160)
    found = card.boot()
    assert found["source"] == f"{card.device}p2"
    assert card.partitions() == [FIRMWARE, 160 - 1 - FIRMWARE]
    assert "too small" in card.read(2, "said")


def test_a_partition_of_data_that_is_ruined_is_left_alone_and_does_not_stop_it(flashed):
    card = flashed(1024)
    card.boot()
    begin = sum(card.partitions()[:2]) + 1
    card.detach()
    ruin = random.Random(1).randbytes(MEBI)
    with card.image.open("r+b") as file:
        file.seek(begin * MEBI)
        for _ in range(300):
            file.write(ruin)
    found = card.boot()
    assert found["source"] == f"{card.device}p2"
    assert "cannot be used" in card.read(2, "said")
    # What is left of it may be all there is of the recordings.
    assert card.read(3, "recordings") == ""
    with card.image.open("rb") as file:
        file.seek(begin * MEBI)
        assert file.read(MEBI) == ruin


def test_damage_that_can_be_mended_is_mended(flashed):
    card = flashed(1024)
    card.boot()
    begin = sum(card.partitions()[:2]) + 1
    card.detach()
    with card.image.open("r+b") as file:
        file.seek(begin * MEBI)
        file.write(bytes(4096))  # the first superblock
    found = card.boot()
    assert found["source"] == f"{card.device}p3"
    assert card.read(3, "recordings") == "kept\n" * 2


def test_each_step_may_be_cut_short(flashed):
    whole = flashed(1024)
    whole.boot()
    steps = (whole.directory / "calls").read_text().count("\n")
    whole.discard()
    assert steps > 10
    for last in range(1, steps + 1):
        card = flashed(1024)
        card.boot(last=last)
        found = card.boot()
        assert found["source"] == f"{card.device}p3", last
        assert len(card.partitions()) == 3, last
        assert _is_grown(card) or not CAN_GROW, last
        assert card.read(2, "said") == "", last
        card.discard()


def _is_grown(card: Card) -> bool:
    return _blocks(card, 2) > 0.9 * card.partitions()[1] * MEBI


def _blocks(card: Card, partition: int) -> int:
    text = _run("dumpe2fs", "-h", f"{card.device}p{partition}")
    values = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(values["Block count"]) * int(values["Block size"])
