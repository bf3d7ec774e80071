"""The appliance under a real systemd: its card, its generations."""

from __future__ import annotations

import shutil
import subprocess

import end_to_end
import machine
import nix_units
import provisioning
import pytest
from installation import DEFAULT, config_of
from sensor import Sensor

pytestmark = pytest.mark.timeout(900)

HOME = "/data/acoupi"

CARD_MOUNT = """\
[Unit]
Description=The partition that laptops read
[Mount]
What=/card
Where=/boot/firmware
Type=ext4
Options=ro,noatime
"""

# In a container only parts of /proc/sys that are one's own may be set, and not by files.
OWN_HOSTNAME = """\
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RuntimeDirectory=proc
RuntimeDirectoryPreserve=yes
ExecStart=mount -t proc proc /run/proc
ExecStart=mount --bind /run/proc/sys/kernel/hostname /proc/sys/kernel/hostname
[Install]
WantedBy=sysinit.target
"""

# A radio, and never a network.
NO_NETWORK = """\
#!/bin/sh
echo "$*" >>/run/nmcli
[ "$1" != -t ] || echo wifi:disconnected:
"""


@pytest.fixture(scope="module")
def appliance(system):
    """The layers of an appliance."""
    reason = nix_units.missing()
    if reason:
        pytest.skip(reason)
    settings = {
        "home": HOME,
        "settings": config_of(DEFAULT),
        "appliance": {"provisioning": {"enable": True}},
    }
    top = machine.scratch_directory("e2e-appliance-")
    evaluated = nix_units.NixSystem(
        settings,
        appliance=True,
        modules='[ { fileSystems."/boot/firmware" = { }; } ]',
    )
    try:
        evaluated.write(top)
        evaluated.build(top, system)
        (top / "usr/bin").mkdir(exist_ok=True)
        (top / "usr/bin/nmcli").write_text(NO_NETWORK)
        (top / "usr/bin/nmcli").chmod(0o755)
        units = top / "etc/systemd/system"
        (units / "boot-firmware.mount").write_text(CARD_MOUNT)
        (units / "own-hostname.service").write_text(OWN_HOSTNAME)
        (units / "sysinit.target.wants").mkdir()
        (units / "sysinit.target.wants/own-hostname.service").symlink_to(
            "../own-hostname.service"
        )
        (top / "card").symlink_to("/dev/card")
        (top / "boot/firmware").mkdir(parents=True)
        # The name of a machine that has none yet.
        (top / "etc/hostname").write_text("")
        yield [top, *system]
    finally:
        evaluated.discard()
        shutil.rmtree(top, ignore_errors=True)


@pytest.fixture
def card(tmp_path):
    """The block device of a partition with a file system."""
    image = tmp_path / "card.img"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    attached = subprocess.run(
        ["losetup", "--find", "--show", str(image)],
        check=False,
        capture_output=True,
        text=True,
    )
    if attached.returncode != 0:
        pytest.skip(f"no loop device: {attached.stderr.strip()}")
    device = attached.stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def sensor(appliance, card, chirps, watched):
    """An appliance that was just switched on for the first time."""
    booted = watched(machine.NspawnMachine("appliance", appliance))
    number = card.removeprefix("/dev/loop")
    booted.write(
        "/etc/tmpfiles.d/card.conf", f"b /dev/card 0660 root root - 7:{number}\n"
    )
    try:
        booted.start()
        found = Sensor(
            booted,
            booted,
            play="paplay --server=unix:/run/microphone/native",
            home=HOME,
            user=nix_units.USER,
            broker="redis-acoupi.service",
        )
        found.play_sound(chirps)
        found.listening = booted.succeed("ss -Hlntu")
        yield found
    finally:
        booted.discard()


def test_the_card_sets_the_sensor_up_and_no_mistake_stops_it(sensor, chirps):
    provisioning.starts_without_a_file(sensor)
    end_to_end.is_confined(sensor)
    provisioning.follows_the_file(sensor, chirps)
    for text, said in (
        (provisioning.BROKEN, 'line 2: device.name = "garden 2"'),
        (provisioning.NO_TOML, "line 1"),
        (None, "there is no acoupi.toml"),
    ):
        provisioning.goes_on_with(sensor, chirps, text, said)
    end_to_end.is_in_order(sensor, sensor.listening)
