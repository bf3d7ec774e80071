"""Sensors set up on machines of the tests, as people set them up."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import nix_units
from machine import Machine
from sensor import Sensor, eventually

PLAY = "paplay --server=unix:/run/microphone/native"
"""Plays a sound file to the microphone of a machine in a container."""

ACTIVITY = "acoupi.programs.activity"
DEFAULT = "acoupi.programs.default"

CONFIG: dict[str, Any] = {
    "timezone": "UTC",
    "microphone": {"device_name": "microphone"},
    "recording": {
        "duration": 1,
        "interval": 1,
        "schedule_start": "00:00",
        "schedule_end": "00:00",
    },
    "messaging": {
        "message_send_interval": 1,
        "mqtt": {"host": "127.0.0.1", "port": 1883},
    },
}
"""One-second recordings without a gap, whose detections are sent at once."""


def config_of(program: str) -> dict[str, Any]:
    """Return `CONFIG` as a program takes it."""
    config = copy.deepcopy(CONFIG)
    if program == DEFAULT:
        del config["messaging"]
    return config


def install_sensor(
    machine: Machine,
    sound: str,
    *,
    user: str = "acoupi",
    program: str = ACTIVITY,
    config: dict[str, Any] | None = None,
    play: str = PLAY,
    patience: float = 60.0,
) -> Sensor:
    """Set a sensor up on a machine, start it, and wait until it records.

    Parameters
    ----------
    machine : Machine
        Has booted.
    sound : str
        Sound file that is played to it.
    user : str
        Whom the home belongs to; made unless it is root.
    program : str
        What it runs.
    config : dict, optional
        The program's configuration; default: `config_of` the program.
    play : str
        Command that plays the sound file named after it to the microphone.
    patience : float
        Seconds from its start until it has to record.
    """
    if user != "root":
        machine.succeed(
            f"useradd --system --no-create-home {user}",
            f"install --directory --owner={user} --group={user} /var/lib/acoupi",
        )
    sensor = Sensor(machine, machine, play=play, user=user)
    with tempfile.TemporaryDirectory(prefix="acoupi-settings-") as directory:
        settings = Path(directory) / "settings.json"
        settings.write_text(json.dumps(config or config_of(program)))
        # Whoever it belongs to reads it.
        settings.chmod(0o644)
        machine.copy_from_host(str(settings), "/run/settings.json")
    machine.wait_for_unit("microphone.service")
    machine.wait_for_unit("listener.service")
    sensor.play_sound(sound)
    sensor.listening = machine.succeed("ss -Hlntu")
    chosen = ["--program", program, "--config", "/run/settings.json"]
    for arguments in (
        ["setup", "--no-prompt", *chosen],
        ["deployment", "start", "me"],
    ):
        home = f"ACOUPI_HOME={sensor.home}"
        machine.succeed(sensor.as_owner("env", home, "acoupi", *arguments))
    sensor.acoupi("start")
    eventually("recording", sensor.is_recording, patience)
    return sensor


def declared_sensor(
    machine: Machine, sound: str, *, home: str = "/var/lib/acoupi", play: str = PLAY
) -> Sensor:
    """Find the sensor that a machine's system declares, and play a sound to it.

    Parameters
    ----------
    machine : Machine
        Has booted, on a layer of `nix_units.system_layer`.
    sound : str
        Sound file that is played to it.
    home : str
        The sensor's.
    play : str
        Command that plays the sound file named after it to the microphone.
    """
    sensor = Sensor(
        machine,
        machine,
        play=play,
        home=home,
        user=nix_units.USER,
        broker="redis-acoupi.service",
    )
    sensor.play_sound(sound)
    sensor.listening = machine.succeed("ss -Hlntu")
    return sensor
