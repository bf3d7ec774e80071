"""The appliance's scripts, run with stand-ins for what only a sensor has."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

MODULES = Path(__file__).resolve().parents[3] / "nixos-modules"


class Bench:
    """A directory with stand-ins, whose calls are written down."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        self.log = directory / "log"
        self.bin.mkdir()
        self.environment: dict[str, str] = {}

    def command(self, name: str, script: str = "") -> Path:
        return self.executable(self.bin / name, script)

    def executable(self, path: Path, script: str = "") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        said = f'echo "{path.name} $*" >>{self.log}\n'
        path.write_text(f"#!/usr/bin/env bash\n{said}{script}\n")
        path.chmod(0o755)
        return path

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(MODULES / script), *arguments],
            env={
                **os.environ,
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                **self.environment,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def calls(self) -> list[str]:
        found = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return found


@pytest.fixture
def bench(tmp_path):
    """A directory with stand-ins."""
    return Bench(tmp_path)


# --- the sensor's own network


@pytest.fixture
def radio(bench):
    """Networks that are set, and the script that is run once a minute."""
    (bench.directory / "state").mkdir()
    bench.environment["STATE"] = str(bench.directory / "state")
    bench.command("iw", f"cat {bench.directory}/stations 2>/dev/null")
    bench.command("nmcli", f'[[ "$1" != -t ]] || cat {bench.directory}/devices; exit 0')

    def minute(devices: str) -> list[str]:
        (bench.directory / "devices").write_text(devices)
        done = bench.run("appliance/hotspot.sh")
        assert done.returncode == 0, done.stderr
        return [call for call in bench.calls() if call.startswith("nmcli connection")]

    return minute


ALONE = "wifi:disconnected:\nethernet:unavailable:\n"
OURS = "wifi:connected:acoupi-hotspot\nethernet:unavailable:\n"


def test_a_network_of_its_own_is_opened_after_some_minutes_alone(radio):
    assert radio(ALONE) == []
    assert radio(ALONE) == ["nmcli connection up acoupi-hotspot"]


@pytest.mark.parametrize(
    "devices",
    ["wifi:connected:home\n", "ethernet:connected:Wired 1\nwifi:disconnected:\n"],
)
def test_with_another_network_there_is_none_of_its_own(radio, devices):
    radio(ALONE)
    assert radio(devices) == []
    assert radio(ALONE) == []


def test_a_cable_closes_it(radio):
    found = radio("ethernet:connected:Wired 1\nwifi:connected:acoupi-hotspot\n")
    assert found == ["nmcli connection down acoupi-hotspot"]


def test_it_makes_way_for_known_networks_unless_a_phone_is_there(radio, bench):
    minutes = [radio(OURS) for _ in range(10)]
    assert minutes[:9] == [[]] * 9
    assert minutes[9] == ["nmcli connection down acoupi-hotspot"]
    (bench.directory / "stations").write_text("Station 00:11:22:33:44:55\n")
    assert [radio(OURS) for _ in range(15)] == [[]] * 15


# --- name, time zone, keys, networks


@pytest.fixture
def system(bench):
    """A root directory, and what the card asked for."""
    root = bench.directory / "root"
    for name in ("etc/zoneinfo/Europe", "proc/sys/kernel", "run"):
        (root / name).mkdir(parents=True)
    (root / "etc/zoneinfo/Europe/London").write_text("TZif")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    files = bench.directory / "files"
    (files / "connections").mkdir(parents=True)
    bench.command("iw")
    bench.environment |= {
        "ROOT": str(root),
        "SYSTEM_FILES": str(files),
        "RUNTIME": str(root / "run/acoupi-provision"),
        "ADMIN": "admin",
    }
    return root, files


def test_what_the_card_says_reaches_the_system(bench, system):
    root, files = system
    (files / "hostname").write_text("garden-1\n")
    (files / "timezone").write_text("Europe/London\n")
    (files / "country").write_text("GB\n")
    (files / "authorized_keys").write_text("ssh-ed25519 AAAA me\n")
    (files / "connections/acoupi-wifi-1.nmconnection").write_text("psk=secret\n")
    done = bench.run("appliance/system-files.sh", "all")
    assert done.returncode == 0, done.stderr
    assert (root / "etc/hostname").read_text() == "garden-1\n"
    assert (root / "proc/sys/kernel/hostname").read_text() == "garden-1"
    assert (root / "etc/localtime").readlink() == Path("/etc/zoneinfo/Europe/London")
    assert (root / "run/acoupi-provision/keys/admin").read_text().endswith("me\n")
    network = root / "run/NetworkManager/system-connections/acoupi-wifi-1.nmconnection"
    assert stat.S_IMODE(network.stat().st_mode) == 0o600
    assert "iw reg set GB" in bench.calls()


def test_what_the_card_no_longer_says_is_taken_back(bench, system):
    root, files = system
    key = files / "authorized_keys"
    key.write_text("ssh-ed25519 AAAA me\n")
    network = files / "connections/acoupi-wifi-1.nmconnection"
    network.write_text("x\n")
    bench.run("appliance/system-files.sh", "all")
    key.unlink()
    network.unlink()
    assert bench.run("appliance/system-files.sh", "all").returncode == 0
    assert not (root / "run/acoupi-provision/keys/admin").exists()
    assert list((root / "run/NetworkManager/system-connections").iterdir()) == []


def test_without_a_name_each_sensor_has_one_that_stays(bench, system):
    root, _ = system
    bench.run("appliance/system-files.sh", "name")
    assert (root / "etc/hostname").read_text() == "acoupi-abcdef\n"
    (root / "etc/machine-id").write_text("f" * 32)
    bench.run("appliance/system-files.sh", "all")
    assert (root / "etc/hostname").read_text() == "acoupi-abcdef\n"


# --- generations


class Generations:
    """Two generations, of which the first is known to be good."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.new, self.good = (self.make(name) for name in ("new", "good"))
        for name in ("state", "runtime"):
            (bench.directory / name).mkdir()
        self.current = bench.directory / "current"
        self.current.symlink_to(self.new)
        self.state = bench.directory / "state"
        self.records = bench.directory / "records"
        bench.command("nix-env")
        # The service that changes the system is the other script.
        returning = f"bash {MODULES}/appliance/return.sh"
        bench.command(
            "systemctl",
            f'[[ "$1" != start ]] || exec {returning}\n'
            f"[[ ! -e {bench.directory}/stopped ]]",
        )
        bench.environment |= {
            "MINUTES": "3",
            "STEP": "0",
            "STATE": str(self.state),
            "RUNTIME": str(bench.directory / "runtime"),
            "PROFILE": str(bench.directory / "profile"),
            "SYSTEM": str(self.current),
            "IS_RECORDING": str(
                bench.executable(
                    bench.directory / "is-recording", f"[[ -e {self.records} ]]"
                )
            ),
        }

    def make(self, name: str) -> Path:
        path = self.bench.directory / name
        self.bench.executable(path / "bin/switch-to-configuration")
        (path / "kernel").symlink_to(self.bench.directory / "some-kernel")
        return path

    def minute(self) -> list[str]:
        done = self.bench.run("appliance/health-gate.sh")
        assert done.returncode == 0, done.stderr
        calls = self.bench.calls()
        return [
            call
            for call in calls
            if not call.startswith(("is-rec", "systemctl --q", "systemctl start"))
        ]


@pytest.fixture
def generations(bench):
    """Two generations."""
    return Generations(bench)


def test_a_generation_that_records_becomes_the_good_one(generations):
    generations.records.touch()
    assert generations.minute() == []
    assert (generations.state / "good").readlink() == generations.new


def test_one_that_does_not_record_in_time_gives_way_to_the_good_one(generations):
    (generations.state / "good").symlink_to(generations.good)
    assert [generations.minute(), generations.minute()] == [[], []]
    profile = generations.bench.directory / "profile"
    assert generations.minute() == [
        f"nix-env --profile {profile} --set {generations.good}",
        "switch-to-configuration switch",
    ]


def test_another_kernel_takes_a_reboot(generations):
    (generations.state / "good").symlink_to(generations.good)
    kernel = generations.good / "kernel"
    kernel.unlink()
    kernel.symlink_to(generations.bench.directory / "another-kernel")
    calls = [generations.minute() for _ in range(3)][-1]
    assert calls[1:] == ["switch-to-configuration boot", "systemctl reboot"]


def test_the_first_generation_has_nothing_to_return_to(generations):
    assert [generations.minute() for _ in range(5)] == [[]] * 5


def test_a_sensor_that_was_stopped_on_purpose_is_no_reason(generations):
    (generations.state / "good").symlink_to(generations.good)
    (generations.bench.directory / "stopped").touch()
    assert [generations.minute() for _ in range(5)] == [[]] * 5


def test_the_good_one_is_never_left(generations):
    (generations.state / "good").symlink_to(generations.new)
    assert [generations.minute() for _ in range(5)] == [[]] * 5


def test_an_update_that_records_is_started_from_then_on(generations):
    generations.current.unlink()
    generations.current.symlink_to(generations.good)
    generations.records.touch()
    done = generations.bench.run("appliance/update.sh", str(generations.new))
    assert done.returncode == 0, done.stderr
    calls = [call for call in generations.bench.calls() if "is-rec" not in call]
    assert calls[0] == "switch-to-configuration test"
    assert calls[1].startswith("nix-env")
    assert calls[2] == "switch-to-configuration boot"


def test_an_update_that_does_not_record_changes_nothing_for_good(generations):
    generations.current.unlink()
    generations.current.symlink_to(generations.good)
    done = generations.bench.run("appliance/update.sh", str(generations.new))
    assert done.returncode == 1
    calls = [call for call in generations.bench.calls() if "is-rec" not in call]
    assert calls == ["switch-to-configuration test"] * 2
    assert list((generations.bench.directory / "runtime").iterdir()) == []


def test_an_update_takes_a_system_only(generations):
    assert generations.bench.run("appliance/update.sh", "/etc").returncode == 2


# --- the image


@pytest.mark.skipif(
    None in map(shutil.which, ("mkfs.ext4", "faketime", "fakeroot")),
    reason="mkfs.ext4, faketime or fakeroot is missing",
)
def test_the_same_files_give_the_same_bytes(bench, tmp_path):
    images = []
    for name in ("first", "second"):
        tree = tmp_path / name
        # Made in another order, as directories of a store may be.
        numbers = range(200) if name == "first" else reversed(range(200))
        (tree / "nix/store/x").mkdir(parents=True)
        for number in numbers:
            (tree / f"nix/store/x/{number}").write_text(str(number))
        (tree / "link").symlink_to("/nix/store")
        image = tmp_path / f"{name}.img"
        done = bench.run(
            "sd-image/make-ext4.sh",
            *(str(tree), str(image), "NIXOS_SD"),
            "6f7ad9a4-5b0c-4b6e-8c0a-3f0a6c0e1b01",
        )
        assert done.returncode == 0, done.stderr
        images.append(image.read_bytes())
    assert images[0] == images[1]
