"""Machines for the tests of whole sensors."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCENARIOS = HERE.parent / "nixos" / "scenarios"

# The scenarios are also imported by NixOS' test driver, which has no package of ours.
for directory in (HERE, SCENARIOS):
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))

import disk_image  # noqa: E402 - found through the paths above
import layers  # noqa: E402 - as the first
import machine  # noqa: E402 - as the first
import nix_units  # noqa: E402 - as the first
import sharing  # noqa: E402 - as the first
import sound  # noqa: E402 - as the first
import virtual_machine  # noqa: E402 - as the first
from installation import install_sensor  # noqa: E402 - as the first

MACHINE = pytest.StashKey[machine.Machine]()
HAS_FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def system():
    """The layers that machines boot from, with this checkout installed."""
    reason = layers.missing()
    if reason:
        pytest.skip(reason)
    top = machine.scratch_directory("e2e-acoupi-")
    try:
        lower = layers.cached_layers()
        layers.install_checkout(top, lower)
        layers.configure(top)
        yield [top, *lower]
    except layers.CannotBuildError as error:
        pytest.skip(f"no system to boot: {error}")
    finally:
        shutil.rmtree(top, ignore_errors=True)


@pytest.fixture(scope="session")
def boot_files():
    """What virtual machines boot from, with this checkout installed."""
    reason = disk_image.missing()
    if reason:
        pytest.skip(reason)
    try:
        return disk_image.boot_files()
    except layers.CannotBuildError as error:
        pytest.skip(f"no system to boot: {error}")


@pytest.fixture(scope="session")
def nix_layer(system):
    """Return a function that makes a layer with the services of the NixOS module."""
    reason = nix_units.missing()
    if reason:
        pytest.skip(reason)
    return functools.partial(nix_units.system_layer, system)


@pytest.fixture(scope="session")
def chirps(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "chirps.wav"
    sound.write_chirps(str(path))
    return str(path)


@pytest.fixture
def watched(request):
    """Tell of which machine a failure of this test is to show the state."""

    def watch(found):
        request.node.stash[MACHINE] = found
        return found

    return watch


@pytest.fixture(scope="module")
def shared_sensors():
    shared = sharing.Shared()
    yield shared
    shared.give_up()


@pytest.fixture
def share(request, shared_sensors, watched):
    """Return a function that gives the sensor of a kind, as the test before left it.

    A test that fails takes its sensor with it: the next one has a new one.
    """

    def share(kind, make):
        found = shared_sensors.borrow(kind, make)
        watched(found.machine)
        return found

    yield share
    if request.node.stash.get(HAS_FAILED, False):
        shared_sensors.give_up()


@pytest.fixture
def boot(shared_sensors, watched):
    """Return a function that boots layers, for a while."""

    @contextlib.contextmanager
    def boot(name, layers, prepare=lambda _: None):
        # Whatever others share would take this one's time.
        shared_sensors.give_up()
        booted = watched(machine.NspawnMachine(name, layers))
        try:
            prepare(booted)
            booted.start()
            yield booted
        finally:
            booted.discard()

    return boot


@pytest.fixture
def booted(boot, system):
    """A machine that runs, without a sensor."""
    with boot("sensor", system) as booted:
        yield booted


@pytest.fixture
def sensor(booted, chirps):
    """A sensor of a user of its own, started by root, that hears chirps."""
    return install_sensor(booted, chirps)


def _evidence(booted):
    parts = [f"--- console\n{booted.console[-2000:]}"]
    for command in (
        "systemctl --no-pager list-units 'acoupi*'",
        "journalctl --boot --no-pager --lines=120",
        "ACOUPI_HOME=/var/lib/acoupi acoupi status",
    ):
        try:
            parts.append(f"--- {command}\n{booted.execute(command, 20)[1]}")
        except (machine.MachineError, OSError) as error:
            parts.append(f"--- {command}\n{error}")
    return "\n".join(parts)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    booted = item.stash.get(MACHINE, None)
    if report.failed:
        item.stash[HAS_FAILED] = True
    if report.failed and report.when in {"setup", "call"} and booted is not None:
        report.sections.append(("machine", _evidence(booted)))


KINDS = (machine.NspawnMachine, virtual_machine.VirtualMachine)


def _count_boots():
    return sum(it.boots for it in KINDS), sum(it.retries for it in KINDS)


COUNTED = pytest.StashKey[list[tuple[int, int]]]()


def pytest_configure(config):
    config.stash[COUNTED] = []


def pytest_sessionfinish(session):
    # Where tests run in several processes, one of them tells what all did.
    counted = getattr(session.config, "workeroutput", None)
    if counted is not None:
        counted["boots"] = _count_boots()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    counted = getattr(node, "workeroutput", {}).get("boots")
    if counted:
        node.config.stash[COUNTED].append(counted)


def pytest_terminal_summary(terminalreporter, config):
    counted = [*config.stash[COUNTED], _count_boots()]
    boots, retries = (sum(it) for it in zip(*counted, strict=True))
    if boots:
        terminalreporter.write_line(
            f"machines booted: {boots}, of which tried again: {retries}"
        )
