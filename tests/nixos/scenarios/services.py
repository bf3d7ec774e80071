"""What ``acoupi start``, ``stop`` and ``status`` do to the services."""

from __future__ import annotations

from sensor import Sensor, eventually


def stops_and_starts(sensor: Sensor, *, at_boot: bool = True) -> None:
    """Stopping ends every process; starting brings them back; status tells.

    Parameters
    ----------
    sensor : Sensor
        It has to be running.
    at_boot : bool
        Whether stopping lasts over a boot; on NixOS the system's declaration decides.
    """
    # The queue's server may be one of the system's own.
    units = [unit for unit in sensor.services() if unit.startswith("acoupi-")]
    eventually("recordings", lambda: sensor.count("recording"))
    undecided = _in_state(sensor, "undecided")
    missing = _in_state(sensor, "missing")
    sensor.acoupi("stop")
    for unit in [*units, "acoupi.target"]:
        eventually(f"{unit} ends", lambda u=unit: _is_inactive(sensor, u))
    found = sensor.status()
    assert not found["running"]
    assert {it["state"] for it in found["processes"]} == {"stopped"}
    sensor.machine.fail("pgrep --full acoupi.system")
    if at_boot:
        sensor.machine.fail("systemctl is-enabled acoupi.target")
    sensor.acoupi("start")
    for unit in units:
        sensor.machine.wait_for_unit(unit)
    eventually("recording", sensor.is_recording)
    # What waits for a decision waits in memory, which services of systemd's may empty.
    sensor.look_after_files()
    eventually("decided", lambda: undecided.isdisjoint(_in_state(sensor, "undecided")))
    assert _in_state(sensor, "missing") == missing
    found = sensor.status()
    assert {it["state"] for it in found["processes"]} == {"running"}
    assert found["kept_by"] == "systemd"
    if at_boot:
        sensor.machine.succeed("systemctl is-enabled acoupi.target")


def _is_inactive(sensor: Sensor, unit: str) -> bool:
    return sensor.show(unit, "ActiveState") == "inactive"


def _in_state(sensor: Sensor, state: str) -> set[str]:
    rows = sensor.query(f"SELECT id FROM recording WHERE state = '{state}'")
    return {row["id"] for row in rows}
