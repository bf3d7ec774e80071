"""The appliance on a virtual machine: a card with FAT, divided and cut off for real."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import appliance
import end_to_end
import layers
import provisioning
import pytest
import virtual_machine
from installation import DEFAULT, config_of, declared_sensor

pytestmark = [pytest.mark.vm, pytest.mark.timeout(2400)]

SEED = 1  # of the moments of power cuts
MEBI = 1 << 20
FIRMWARE, SYSTEM, ALL = 48, 128, 1024
"""Sizes of the card and its first partitions, in MiB."""

SCRIPT = layers.CHECKOUT / "nixos-modules/sd-image/prepare-card.sh"
FOUND_IN_THE_LAYER = (
    "nix",
    "built",
    "etc/systemd",
    "usr/local",
    "etc/redis-acoupi.conf",
)

UNITS = {
    "boot-firmware.mount": """\
[Mount]
What=/dev/vdb1
Where=/boot/firmware
Type=vfat
Options=ro,noatime,fmask=0133,dmask=0022,iocharset=iso8859-1
[Install]
WantedBy=local-fs.target
""",
    # The root of these machines has no partitions; this one stands for it.
    "srv-system.mount": """\
[Mount]
What=/dev/vdb2
Where=/srv/system
Type=ext4
""",
    "acoupi-card.service": """\
[Unit]
DefaultDependencies=no
Requires=srv-system.mount
After=srv-system.mount
Before=local-fs.target shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
RemainAfterExit=yes
Environment=ROOT_DEVICE=/dev/vdb2 DISK=/dev/vdb STATE=/srv/system/state
ExecStart=/bin/bash /opt/prepare-card.sh
[Install]
WantedBy=local-fs.target
""",
}


def flash(image: Path) -> None:
    """Write a card as the image has it: FAT, and a small system."""
    with image.open("wb") as file:
        file.truncate(ALL * MEBI)
    table = f"label: dos\n1M,{FIRMWARE}M,b\n{1 + FIRMWARE}M,{SYSTEM}M,83,*\n"
    subprocess.run(["sfdisk", "--quiet", image], input=table, text=True, check=True)
    parts = (
        (1, FIRMWARE, ["mkfs.vfat", "-n", "FIRMWARE"]),
        (1 + FIRMWARE, SYSTEM, ["mkfs.ext4", "-q"]),
    )
    for begin, size, make in parts:
        part = image.with_suffix(".part")
        with part.open("wb") as file:
            file.truncate(size * MEBI)
        subprocess.run([*make, part], check=True, stdout=subprocess.DEVNULL)
        with image.open("r+b") as file:
            file.seek(begin * MEBI)
            file.write(part.read_bytes())
        part.unlink()


def install(vm, top: Path, archive: Path) -> None:
    """Put the appliance's units and scripts on a machine."""
    (top / "opt").mkdir(exist_ok=True)
    (top / "opt/prepare-card.sh").write_bytes(SCRIPT.read_bytes())
    appliance.add_command(top, "nmcli", appliance.NO_NETWORK)
    for name, text in UNITS.items():
        (top / "etc/systemd/system" / name).write_text(text)
    with tarfile.open(archive, "w:gz") as file:
        for name in (*FOUND_IN_THE_LAYER, "opt/prepare-card.sh", "usr/bin/nmcli"):
            file.add(top / name, name)
    vm.copy_from_host(str(archive), "/run/appliance.tar.gz")
    vm.succeed(
        "tar --extract --gzip --file=/run/appliance.tar.gz --directory=/"
        " --keep-directory-symlink --no-overwrite-dir",
        "useradd --system --no-create-home --groups audio acoupi",
        "useradd --system --no-create-home redis-acoupi",
        "mkdir -p /boot/firmware /srv/system /data",
        "systemctl daemon-reload",
        "systemctl enable boot-firmware.mount acoupi-card.service",
    )


@pytest.fixture
def sensor(nix_layer, boot_files, chirps, watched, tmp_path):
    """An appliance that was just switched on for the first time."""
    if not Path("/usr/sbin/mkfs.vfat").exists():
        pytest.skip("mkfs.vfat is not installed (Debian: dosfstools)")
    config = config_of(DEFAULT)
    config["microphone"]["device_name"] = virtual_machine.MICROPHONE
    settings = {
        "home": appliance.HOME,
        "settings": config,
        "appliance": {
            "provisioning": {"enable": True},
            # There are no generations here, and a boot takes longer than a minute.
            "healthGate": {"enable": False},
        },
    }
    card = tmp_path / "card.img"
    flash(card)
    drive = f"file={card},format=raw,if=virtio,cache=writeback"
    vm = watched(
        virtual_machine.VirtualMachine("appliance", boot_files, extra=["-drive", drive])
    )
    try:
        with nix_layer(settings, appliance=True, modules=appliance.MODULES) as top:
            vm.start()
            install(vm, top, tmp_path / "appliance.tar.gz")
        vm.reboot()
        yield declared_sensor(
            vm, chirps, home=appliance.HOME, play=virtual_machine.PLAY
        )
    finally:
        vm.discard()


def test_a_card_sets_a_sensor_up_from_the_first_boot_on(sensor, chirps):
    machine = sensor.machine
    found = machine.succeed("findmnt --noheadings --output SOURCE,FSTYPE /data").split()
    assert found == ["/dev/vdb3", "ext4"]
    size = machine.succeed("findmnt --noheadings --bytes --output SIZE /srv/system")
    assert int(size) > 0.9 * (ALL - FIRMWARE) // 2 * MEBI
    provisioning.starts_without_a_file(sensor)
    provisioning.follows_the_file(sensor, chirps)
    end_to_end.is_confined(sensor)
    provisioning.goes_on_with(
        sensor, chirps, provisioning.BROKEN, 'line 2: device.name = "garden 2"'
    )
    provisioning.survives_power_cuts(
        sensor, chirps, cuts=int(os.environ.get("ACOUPI_TEST_CUTS", "3")), seed=SEED
    )
    # Again, when the microphone is known.
    machine.succeed("systemctl start acoupi-report.service")
    assert "Loopback" in provisioning.report_of(sensor)
