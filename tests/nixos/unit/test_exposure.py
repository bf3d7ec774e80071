"""What the services of the module may reach, as systemd counts it; nothing runs."""

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
    "sensor": ({"program": "acoupi.programs.activity", "settings": MQTT}, False),
    "appliance": ({"appliance": {"provisioning": {"enable": True}}}, True),
}
MOST = {
    "acoupi-worker-recording.service": 0.6,
    # Changes the whole system, when it runs at all.
    "acoupi-return.service": 10,
}
"""Exposure that a service may have; others: 1.5."""


@pytest.fixture(scope="module", params=SYSTEMS)
def exposures(request, tmp_path_factory):
    """Exposure of each service, by its name."""
    sys.path.insert(0, str(E2E))
    try:
        import nix_units
    finally:
        sys.path.remove(str(E2E))
    settings, appliance = SYSTEMS[request.param]
    directory = tmp_path_factory.mktemp("units")
    system = nix_units.NixSystem(
        settings, appliance=appliance, modules=CARD if appliance else "[ ]"
    )
    try:
        units = system.units()
    finally:
        system.discard()
    found = {}
    for name, unit in units.items():
        (directory / name).write_text(nix_units.unit_text(name, unit))
        if name.endswith(".service"):
            said = subprocess.run(
                [
                    *("systemd-analyze", "security", "--offline=true", "--no-pager"),
                    str(directory / name),
                ],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            found[name] = float(said.rpartition(f"for {name}: ")[2].split()[0])
    return found


def test_services_reach_little(exposures):
    assert len(exposures) > 5
    too_much = {
        name: exposure
        for name, exposure in exposures.items()
        if exposure > MOST.get(name, 1.5)
    }
    assert too_much == {}
