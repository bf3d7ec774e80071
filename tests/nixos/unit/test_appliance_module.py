"""The appliance and the card's image, evaluated with a nixpkgs tree."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

EXPRESSION = Path(__file__).with_name("appliance.nix")

pytestmark = [pytest.mark.nixpkgs, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def evaluate(attribute_of):
    """Return a function that evaluates an attribute of appliance.nix."""
    return functools.partial(attribute_of, EXPRESSION)


MACHINES = ["plain", "provisioned", "off", "image"]


@pytest.mark.parametrize("name", MACHINES)
def test_each_system_is_complete(evaluate, name):
    assert evaluate(f"looks.{name}")["failures"] == []
    assert evaluate(f"systems.{name}").endswith(".drv")


def test_the_card_becomes_an_image(evaluate):
    assert evaluate("image").endswith(".drv")
    assert "firmware/acoupi.toml" in evaluate("firmware")


@pytest.mark.parametrize(
    ("name", "words"),
    [("without-card", "is no file system"), ("immutable", "mutableConfiguration")],
)
def test_what_cannot_work_is_refused_with_the_remedy(evaluate, name, words):
    (message,) = evaluate(f"looks.{name}")["failures"]
    assert words in message
    assert "provisioning" in message


def test_the_card_is_read_before_the_network_and_the_sensor(evaluate):
    found = evaluate("looks.image")["services"]["acoupi-provision"]
    assert "boot-firmware.mount" in found["after"]
    assert {
        "network-pre.target",
        "NetworkManager.service",
        "acoupi-setup.service",
        "acoupi.target",
    } <= set(found["before"])
    assert found["wantedBy"] == ["multi-user.target"]


def test_the_workers_of_every_program_wait_for_one_that_has_them(evaluate):
    services = evaluate("looks.image")["services"]
    for name in ("recording", "default", "detection"):
        assert name in services[f"acoupi-worker-{name}"]["conditions"]
    assert services["acoupi-beat"]["conditions"] == ""


def test_nothing_wears_the_card_out_or_fills_it(evaluate):
    found = evaluate("looks.image")
    assert "noatime" in found["fileSystems"]["/"]
    assert "/data" not in found["fileSystems"]  # acoupi-card mounts it
    assert "ro" in found["fileSystems"]["/boot/firmware"]
    text = "".join(found["etc"].values())
    assert "Storage=volatile" in text
    assert "RuntimeMaxUse=" in text
    assert "RuntimeWatchdogSec=" in text
    assert found["home"] == "/data/acoupi"


def test_ssh_by_key_is_the_only_way_in(evaluate):
    found = evaluate("looks.image")
    assert found["ssh"] == {
        "PasswordAuthentication": False,
        "KbdInteractiveAuthentication": False,
    }
    assert found["ports"] == {"allowedTCPPorts": [22], "allowedUDPPorts": []}


def test_what_the_card_sets_is_not_fixed_by_the_system(evaluate):
    found = evaluate("looks.image")
    assert found["hostName"] == ""
    assert found["timeZone"] is None


def test_without_provisioning_only_the_field_defaults_and_the_gate_remain(evaluate):
    found = evaluate("looks.plain")
    assert "acoupi-provision" not in found["services"]
    assert found["timers"] == ["acoupi-health-gate"]
    assert evaluate("looks.off")["etc"] == {}
