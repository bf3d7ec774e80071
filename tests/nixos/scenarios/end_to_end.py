"""Sound in, detections out: recorded, analysed, stored, sent, and over a reboot."""

from __future__ import annotations

from sensor import Sensor, eventually


def hears_keeps_and_tells(sensor: Sensor) -> None:
    """Sound becomes detections, messages and kept files, on a system in order."""
    recordings = detects_and_delivers(sensor)
    keeps(sensor, recordings)
    is_in_order(sensor, sensor.listening)
    is_confined(sensor)


def detects_and_delivers(sensor: Sensor) -> list[str]:
    """Sound that is played becomes recordings, detections and messages.

    Returns
    -------
    list of str
        The recordings whose detections arrived.
    """
    for unit in sensor.services():
        sensor.machine.wait_for_unit(unit)
    eventually("recording", sensor.is_recording)
    before = set(sensor.received_recordings())
    arrived = eventually(
        "a detection at the MQTT broker",
        lambda: [it for it in sensor.received_recordings() if it not in before],
    )
    # What arrived is in the database, with its detections.
    detected = sensor.query(
        "SELECT DISTINCT recording.id FROM recording"
        " JOIN model_output ON model_output.recording = recording.number"
        " JOIN detection ON detection.output = model_output.number"
        f" WHERE recording.id IN ({_listed(arrived)})"
    )
    assert {row["id"] for row in detected} == set(arrived)
    found = sensor.status()
    assert found["running"], found
    assert found["recorder"]["samples_lost"] == 0, found
    return arrived


def keeps(sensor: Sensor, recordings: list[str]) -> None:
    """Recordings that have detections are kept as files."""
    sensor.look_after_files()
    kept = eventually(
        "kept recordings",
        lambda: sensor.query(
            "SELECT path FROM recording WHERE state = 'kept'"
            f" AND id IN ({_listed(recordings)})"
        ),
    )
    for row in kept:
        sensor.machine.succeed(f"test -s '{row['path']}'")
    losses = sensor.status()["store"]["losses"]
    assert losses == {}, losses


def _listed(identities: list[str]) -> str:
    return ", ".join(f"'{identity}'" for identity in identities)


def goes_on_after_a_reboot(sensor: Sensor, sound: str) -> None:
    """A reboot needs no hand: what was there is there, and more follows."""
    recordings = {row["id"] for row in sensor.query("SELECT id FROM recording")}
    sensor.machine.reboot()
    sensor.play_sound(sound)
    detects_and_delivers(sensor)
    now = {row["id"] for row in sensor.query("SELECT id FROM recording")}
    assert recordings < now


def is_in_order(sensor: Sensor, listening: str) -> None:
    """No failed unit, no ordering cycle, and nothing listens that did not before."""
    machine = sensor.machine
    # Waits until the boot has ended; what failed is named by the next.
    machine.execute("systemctl is-system-running --wait")
    failed = machine.succeed("systemctl --failed --no-legend --plain")
    assert failed == "", failed
    said = machine.succeed(
        "systemd-analyze --man=no verify acoupi.target multi-user.target 2>&1 || true"
    )
    wrong = [it for it in said.splitlines() if "cycle" in it or "acoupi" in it]
    assert wrong == []
    log = machine.succeed("journalctl --boot --no-pager --output=cat")
    assert "ordering cycle" not in log
    assert machine.succeed("ss -Hlntu") == listening


def is_confined(sensor: Sensor) -> None:
    """The running services have what systemd counts as little to attack."""
    for unit in sensor.services():
        most = 0.6 if unit == "acoupi-worker-recording.service" else 1.5
        said = sensor.machine.succeed(f"systemd-analyze security --no-pager {unit}")
        exposure = float(said.rpartition(f"for {unit}: ")[2].split()[0])
        assert exposure <= most, f"{unit}: {said}"
