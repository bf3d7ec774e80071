"""The systems that the module makes, evaluated without nixpkgs; nothing runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

E2E = Path(__file__).resolve().parents[2] / "e2e"

pytestmark = pytest.mark.skipif(
    None in map(shutil.which, ("nix-instantiate", "systemd-analyze")),
    reason="nix-instantiate or systemd-analyze is missing",
)

CARD = '[ { fileSystems."/boot/firmware" = { }; } ]'
MQTT = {"messaging": {"mqtt": {"host": "mqtt.example.org"}}}
SYSTEMS = {
    "sensor": (
        {
            "program": "acoupi.programs.activity",
            "settings": MQTT,
            "deployment": {"name": "Oak 7", "latitude": 51.66, "longitude": 0.05},
        },
        False,
    ),
    "appliance": ({"appliance": {"provisioning": {"enable": True}}}, True),
}
MOST = {
    "acoupi-worker-recording.service": 0.6,
    # Changes the whole system, when it runs at all.
    "acoupi-return.service": 10,
}
"""Exposure that a service may have; others: 1.5."""


@pytest.fixture(scope="module", params=SYSTEMS)
def made(request, tmp_path_factory):
    """What the module makes of some settings, written to a directory."""
    sys.path.insert(0, str(E2E))
    try:
        import nix_units
    finally:
        sys.path.remove(str(E2E))
    settings, appliance = SYSTEMS[request.param]
    directory = tmp_path_factory.mktemp("system")
    system = nix_units.NixSystem(
        settings, appliance=appliance, modules=CARD if appliance else "[ ]"
    )
    try:
        system.write(directory)
    finally:
        system.discard()
    return directory


def test_services_reach_little(made):
    found = {}
    for unit in sorted((made / "etc/systemd/system").glob("*.service")):
        said = subprocess.run(
            [
                *("systemd-analyze", "security", "--offline=true", "--no-pager"),
                str(unit),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        found[unit.name] = float(said.rpartition(f"for {unit.name}: ")[2].split()[0])
    assert len(found) > 5
    too_much = {
        name: exposure
        for name, exposure in found.items()
        if exposure > MOST.get(name, 1.5)
    }
    assert too_much == {}


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is missing")
def test_scripts_that_the_module_writes_are_sound(made):
    scripts = [
        str(path)
        for path in sorted((made / "nix/store").iterdir())
        if path.is_file() and path.read_bytes().startswith(b"#!")
    ]
    assert len(scripts) > 3
    # The shebang of what Nix writes is bash's.
    done = subprocess.run(
        ["shellcheck", "--shell=bash", *scripts],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
