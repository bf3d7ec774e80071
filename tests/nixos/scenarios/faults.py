"""Processes that die or hang, and power that goes."""

from __future__ import annotations

import json
import shlex

import continuity
from sensor import Sensor, eventually


def comes_back_from_kills(sensor: Sensor) -> None:
    """Each process that is killed is back by itself, and the sensor works on."""
    for unit in sensor.services():
        former = sensor.show(unit, "MainPID")
        sensor.machine.succeed(f"kill -KILL {former}")
        eventually(f"{unit} is back", lambda u=unit, f=former: sensor.is_back(u, f))
        eventually("recording", sensor.is_recording)
    works_on(sensor)
    # What waited in memory for its decision waits there still.
    assert sensor.count("recording", "state = 'missing'") == 0


def restarts_what_hangs(sensor: Sensor, unit: str) -> None:
    """The watchdog replaces a process that gives no sign of life."""
    machine = sensor.machine
    assert sensor.show(unit, "WatchdogUSec") == "1min"
    # The same, without waiting for a minute.
    drop_in = f"/run/systemd/system/{unit}.d/sooner.conf"
    machine.succeed(
        f"mkdir -p $(dirname {drop_in})",
        f"printf '[Service]\\nWatchdogSec=4\\nTimeoutAbortSec=1\\n' >{drop_in}",
        "systemctl daemon-reload",
        f"systemctl restart {unit}",
    )
    former = sensor.show(unit, "MainPID")
    restarts = int(sensor.show(unit, "NRestarts"))
    machine.succeed(f"kill -STOP {former}")
    eventually(f"{unit} is replaced", lambda: sensor.is_back(unit, former))
    assert int(sensor.show(unit, "NRestarts")) == restarts + 1
    log = machine.succeed(f"journalctl --boot --no-pager --output=cat --unit={unit}")
    assert "Watchdog timeout" in log
    works_on(sensor)
    machine.succeed(f"rm {drop_in}", "systemctl daemon-reload")


def loses_nothing_acknowledged(sensor: Sensor, sound: str) -> None:
    """After every process was killed, what was acknowledged is there, and whole."""
    state = "SELECT id, state, path FROM recording"
    outputs = "SELECT id FROM model_output"
    eventually("kept", lambda: sensor.count("recording", "state = 'kept'"))
    recordings = {row["id"]: row for row in sensor.query(state)}
    analysed = {row["id"] for row in sensor.query(outputs)}
    sensor.machine.crash()
    sensor.machine.start()
    sensor.play_sound(sound)
    eventually("recording", sensor.is_recording)
    arrived = set(sensor.received_recordings())
    works_on(sensor)
    now = {row["id"]: row for row in sensor.query(state)}
    assert recordings.keys() <= now.keys()
    # What had been told is known, even what was told in the last moment.
    assert arrived <= now.keys()
    assert analysed <= {row["id"] for row in sensor.query(outputs)}
    assert sensor.query("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    # A message in flight may arrive again; then it is the same, not another.
    contents: dict[str, set[str]] = {}
    for message in sensor.received():
        if "detections" in message:
            told = contents.setdefault(message["recording"]["id"], set())
            told.add(json.dumps(message, sort_keys=True))
    assert {key for key, told in contents.items() if len(told) > 1} == set()
    for number, former in recordings.items():
        if former["state"] == "kept":
            assert now[number]["state"] == "kept", now[number]
            assert now[number]["path"] == former["path"]
    _is_whole(sensor)


def _is_whole(sensor: Sensor) -> None:
    """Every file under its final name can be read from beginning to end."""
    directory = f"{sensor.home}/data/recordings"
    listed = sensor.machine.succeed(f"find {directory} -type f").splitlines()
    assert listed
    # Reads each sample; a file that cannot be read is named, with exit code 1.
    sensor.acoupi("detect", "--no-progress", "--json", directory)
    # What is being written has another name, and does not keep it.
    for name in listed:
        if not name.endswith((".flac", ".wav")):
            sensor.machine.wait_until_fails(f"test -e {shlex.quote(name)}", timeout=120)


def works_on(sensor: Sensor) -> None:
    """New sound is recorded, analysed and delivered."""
    eventually("recording", sensor.is_recording)
    continuity.detects_again(sensor)
