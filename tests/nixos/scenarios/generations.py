"""Generations of the system: one in which the sensor does not record gives way."""

from __future__ import annotations

import time
from collections.abc import Callable

from sensor import Sensor, eventually

STATE = "/var/lib/acoupi-generations"
GATE = "acoupi-health-gate.service"


def current(sensor: Sensor) -> str:
    """Return the generation that runs."""
    return str(sensor.machine.succeed("readlink -f /run/current-system")).strip()


def at_boot(sensor: Sensor) -> str:
    """Return the generation that is started next."""
    return str(
        sensor.machine.succeed("readlink -f /nix/var/nix/profiles/system")
    ).strip()


def good(sensor: Sensor) -> str:
    """Return the last generation that recorded."""
    return str(sensor.machine.succeed(f"readlink {STATE}/good || true")).strip()


def look(sensor: Sensor, minutes: int = 1) -> None:
    """Let the gate look, as often as it does in some minutes."""
    for _ in range(minutes):
        sensor.machine.succeed(f"systemctl start {GATE}")


def one_that_records_is_kept(sensor: Sensor) -> None:
    """A generation that records becomes the good one."""
    eventually("recording", sensor.is_recording)
    look(sensor)
    assert good(sensor) == current(sensor)


def one_that_does_not_record_gives_way(
    sensor: Sensor, switch: Callable[[], object], minutes: int
) -> None:
    """A generation in which nothing is recorded is left by itself, data kept.

    Parameters
    ----------
    sensor : Sensor
        It runs a generation that records.
    switch : callable
        Switches to one that does not, as an update does.
    minutes : int
        After how many the gate returns.
    """
    one_that_records_is_kept(sensor)
    former = current(sensor)
    eventually("recordings", lambda: sensor.count("recording"))
    recordings = {row["id"] for row in sensor.query("SELECT id FROM recording")}
    switch()
    bad = current(sensor)
    assert bad != former
    assert at_boot(sensor) == bad
    eventually("not recording", lambda: not sensor.is_recording())
    look(sensor, minutes - 1)
    # Not too early: a sensor may need some minutes.
    assert current(sensor) == bad
    look(sensor)
    eventually("the former generation", lambda: current(sensor) == former)
    assert at_boot(sensor) == former
    eventually("recording again", sensor.is_recording)
    assert good(sensor) == former
    now = {row["id"] for row in sensor.query("SELECT id FROM recording")}
    assert recordings <= now
    look(sensor)
    sensor.machine.fail("systemctl --failed --no-legend | grep --quiet acoupi")


def one_that_is_bad_from_the_boot_on_gives_way(
    sensor: Sensor, start: Callable[[], object], minutes: int
) -> None:
    """A machine that starts into a generation that does not record leaves it, too.

    Parameters
    ----------
    sensor : Sensor
        It runs a generation that records.
    start : callable
        Starts the machine into one that does not, with what is to be played.
    minutes : int
        After how many the gate returns.
    """
    one_that_records_is_kept(sensor)
    former = current(sensor)
    sensor.machine.shutdown()
    start()
    assert current(sensor) != former
    look(sensor, minutes)
    eventually("the former generation", lambda: current(sensor) == former)
    assert at_boot(sensor) == former
    eventually("recording again", sensor.is_recording)


def an_update_outlives_its_connection(sensor: Sensor, good_one: str) -> None:
    """Who started the update may be gone: it is brought to its end.

    Parameters
    ----------
    sensor : Sensor
        It runs a generation that records.
    good_one : str
        Path of another that does.
    """
    sensor.machine.succeed(
        f"STEP=5 timeout --signal=HUP 2 acoupi-update {good_one} || test $? = 124"
    )
    eventually("the next generation", lambda: at_boot(sensor) == good_one)
    assert current(sensor) == good_one
    sensor.machine.wait_until_fails("systemctl --quiet is-active acoupi-update")


def an_update_is_tried_out(sensor: Sensor, good_one: str, bad_one: str) -> None:
    """``acoupi-update`` makes a generation the one at boot only when it records.

    Parameters
    ----------
    sensor : Sensor
        It runs a generation that records.
    good_one, bad_one : str
        Paths of others, of which the second does not record.
    """
    former = current(sensor)
    sensor.machine.fail(f"STEP=5 acoupi-update {bad_one}", timeout=300)
    assert current(sensor) == former
    assert at_boot(sensor) == former
    eventually("recording again", sensor.is_recording)
    sensor.machine.succeed(f"STEP=5 acoupi-update {good_one}", timeout=300)
    assert current(sensor) == at_boot(sensor) == good_one
    assert sensor.is_recording()


def a_reset_while_trying_returns(
    sensor: Sensor, bad_one: str, start: Callable[[], object]
) -> None:
    """Power that goes while an update is tried out brings the former one back.

    Parameters
    ----------
    sensor : Sensor
        It runs a generation that records.
    bad_one : str
        Path of one that does not.
    start : callable
        Starts the machine after the power was gone, with what is to be played.
    """
    former = current(sensor)
    command = f"$(command -v acoupi-update) {bad_one}"
    sensor.machine.succeed(f"systemd-run --quiet --collect --unit=trying {command}")
    eventually("being tried", lambda: current(sensor) == bad_one)
    time.sleep(0.5)
    sensor.machine.crash()
    start()
    eventually("recording", sensor.is_recording)
    assert current(sensor) == former
