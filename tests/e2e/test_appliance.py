"""The appliance under a real systemd: its card, its generations."""

from __future__ import annotations

import contextlib
import os
import subprocess

import appliance
import end_to_end
import generations
import provisioning
import pytest
from installation import ACTIVITY, DEFAULT, config_of, declared_sensor
from sensor import eventually

pytestmark = pytest.mark.timeout(900)

SEED = 1  # of the moments of power cuts

CARD_MOUNT = """\
[Unit]
Description=The partition that laptops read
[Mount]
What=/card
Where=/boot/firmware
Type=ext4
Options=ro,noatime
"""

# In a container nothing in /proc/sys may be written, not even what is one's own.
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

# What NixOS does with generations, as far as the sensor's services see it.
NIX_ENV = """\
#!/bin/sh -e
[ "$1 $3" = "--profile --set" ]
ln -sfT "$4" "$2.new"
mv -fT "$2.new" "$2"
"""
SWITCH = """\
#!/bin/sh -e
generation=$(dirname "$(dirname "$(readlink -f "$0")")")
case "$1" in
boot) exit ;;
switch | test | activate) ;;
*) exit 2 ;;
esac
ln -sfT "$generation" /run/current-system
there=/run/systemd/system/acoupi-worker-recording.service.d
mkdir -p "$there"
cp "$generation/recorder.conf" "$there/generation.conf"
[ "$1" = activate ] || {
    systemctl daemon-reload
    systemctl restart --no-block acoupi-worker-recording.service
}
"""
ACTIVATION_UNIT = """\
[Unit]
Description=What stands for NixOS' own start of a generation
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/nix/var/nix/profiles/system/bin/switch-to-configuration activate
ExecStart=systemctl daemon-reload
[Install]
WantedBy=sysinit.target
"""
RECORDERS = {
    "former": "",
    "next": "",
    # Installed in order, and dead at once.
    "bad": "[Service]\nExecStart=\nExecStart=/bin/false\n",
}
MINUTES = 3


@pytest.fixture(scope="module")
def layers(system, nix_layer):
    """The layers of an appliance."""
    settings = {
        "home": appliance.HOME,
        "settings": config_of(DEFAULT),
        "appliance": {"provisioning": {"enable": True}},
    }
    with nix_layer(settings, appliance=True, modules=appliance.MODULES) as top:
        appliance.add_command(top, "nmcli", appliance.NO_NETWORK)
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


@contextlib.contextmanager
def inserted_card(directory):
    """Make the block device of a partition with a file system, for a while."""
    image = directory / "card.img"
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
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def sensor(layers, share, boot, chirps, tmp_path):
    """An appliance with a card, as the test before left it."""

    @contextlib.contextmanager
    def make():
        with inserted_card(tmp_path) as device:
            number = device.removeprefix("/dev/loop")

            def prepare(booted):
                path = "/etc/tmpfiles.d/card.conf"
                booted.write(path, f"b /dev/card 0660 root root - 7:{number}\n")

            with boot("appliance", layers, prepare) as booted:
                yield declared_sensor(booted, chirps, home=appliance.HOME)

    return share("with a card", make)


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


def test_what_the_timers_start_works_confined_as_it_is(sensor):
    eventually("recording", sensor.is_recording)
    # Again, with what is known by then.
    sensor.machine.succeed("systemctl start acoupi-report.service")
    assert "Recording: yes" in provisioning.report_of(sensor)
    for _ in range(2):
        sensor.machine.succeed("systemctl start acoupi-hotspot.service")
    said = sensor.machine.succeed("journalctl --unit=acoupi-hotspot --output=cat")
    assert "nmcli connection up acoupi-hotspot" in said
    sensor.machine.fail("systemctl --failed --no-legend | grep --quiet acoupi")


@pytest.mark.slow
def test_power_that_goes_while_the_card_is_followed_costs_nothing(sensor, chirps):
    provisioning.follows_the_file(sensor, chirps)
    provisioning.survives_power_cuts(
        sensor, chirps, cuts=int(os.environ.get("ACOUPI_TEST_CUTS", "5")), seed=SEED
    )


def test_a_card_without_its_partition_records_all_the_same(layers, boot, chirps):
    with boot("no-card", layers) as booted:
        found = declared_sensor(booted, chirps, home=appliance.HOME)
        eventually("recording", found.is_recording)
        booted.fail(f"mountpoint --quiet {provisioning.PARTITION}")
        booted.succeed("systemctl is-active acoupi-provision.service")


def add_generations(top):
    """Add generations of the system to a layer; the first is the one at boot."""
    appliance.add_command(top, "nix-env", NIX_ENV)
    for name, recorder in RECORDERS.items():
        path = top / "nix/store" / name
        (path / "bin").mkdir(parents=True)
        (path / "kernel").symlink_to("/nix/store/kernel")
        (path / "recorder.conf").write_text(recorder)
        (path / "bin/switch-to-configuration").write_text(SWITCH)
        (path / "bin/switch-to-configuration").chmod(0o755)
    for directory in ("gcroots", "profiles"):
        (top / "nix/var/nix" / directory).mkdir(parents=True)
    (top / "nix/var/nix/profiles/system").symlink_to("/nix/store/former")
    units = top / "etc/systemd/system"
    (units / "activation.service").write_text(ACTIVATION_UNIT)
    (units / "sysinit.target.wants").mkdir(exist_ok=True)
    wants = units / "sysinit.target.wants/activation.service"
    wants.symlink_to("../activation.service")


@pytest.fixture
def changed(boot, system, nix_layer, chirps):
    """A sensor that runs the first of some generations."""
    settings = {
        "program": ACTIVITY,
        "settings": config_of(ACTIVITY),
        "appliance": {"healthGate": {"minutes": MINUTES}},
    }
    with nix_layer(settings, appliance=True, modules=appliance.MODULES) as top:
        add_generations(top)
        with boot("generations", [top, *system]) as booted:
            # The test says when a minute is over.
            booted.succeed("systemctl stop acoupi-health-gate.timer")
            yield declared_sensor(booted, chirps)


def test_a_generation_that_does_not_record_gives_way_by_itself(changed):
    generations.one_that_does_not_record_gives_way(
        changed,
        lambda: changed.machine.succeed(
            "nix-env --profile /nix/var/nix/profiles/system --set /nix/store/bad",
            "/nix/store/bad/bin/switch-to-configuration switch",
        ),
        MINUTES,
    )


@pytest.mark.slow
def test_an_update_holds_only_when_it_records(changed, chirps):
    def start():
        changed.machine.start()
        changed.play_sound(chirps)

    eventually("recording", changed.is_recording)
    generations.a_reset_while_trying_returns(changed, "/nix/store/bad", start)
    generations.an_update_is_tried_out(changed, "/nix/store/next", "/nix/store/bad")


@pytest.mark.slow
def test_neither_a_bad_start_nor_a_lost_connection_leaves_a_bad_generation(
    changed, chirps
):
    def start():
        changed.machine.start()
        changed.machine.succeed("systemctl stop acoupi-health-gate.timer")
        changed.play_sound(chirps)

    eventually("recording", changed.is_recording)
    changed.machine.succeed(
        "nix-env --profile /nix/var/nix/profiles/system --set /nix/store/bad"
    )
    generations.one_that_is_bad_from_the_boot_on_gives_way(changed, start, MINUTES)
    generations.an_update_outlives_its_connection(changed, "/nix/store/next")
