"""The demonstration: a sensor that needs neither a setup nor a microphone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.errors import AcoupiError, ConfigurationError

if TYPE_CHECKING:
    from acoupi.system.settings import Settings

__all__ = ["DEMO_PROGRAM", "Sound", "choose_sound", "demo_configuration", "set_up_demo"]

DEMO_PROGRAM = "acoupi.programs.activity"
"""Detects activity without any downloaded weights."""

PREFERRED_SAMPLERATE = 48_000
"""Samples per second, in Hz, when the microphone takes it."""

PROBE_TIMEOUT = 15.0
"""Seconds that looking for a microphone may take; a broken sound server can hang."""

_PROBE = """
import json, os, sys, threading
from acoupi.audio.devices import find_microphone, list_microphones
from acoupi.components.recorders import MicrophoneConfig

wanted = int(sys.argv[1])


class Sink:
    free = 10**9

    def __init__(self):
        self.arrived = threading.Event()

    def deliver(self, *_):
        self.arrived.set()


def try_out(found):
    rate = wanted if wanted in found.samplerates else found.default_samplerate
    sink = Sink()
    config = MicrophoneConfig(device_name=found.identity, samplerate=rate)
    config.build_source(4096).open().start(sink)
    if sink.arrived.wait(4):
        print(json.dumps([found.identity, found.name, rate]), flush=True)
        os._exit(0)


candidates = list_microphones()
try:
    default = find_microphone("default", probe=True)
    candidates.sort(key=lambda one: one.index != default.index)
except Exception:
    pass
for candidate in candidates:
    try:
        try_out(candidate)
    except Exception as error:
        print(error, file=sys.stderr)
os._exit(0)
"""
"""Runs in a process of its own: PortAudio may hang, and its threads must not be
there when the launcher forks."""


class Sound:
    """Where the demonstration's sound comes from.

    Parameters
    ----------
    description
        In words, for people.
    settings
        The fields of the ``microphone`` setting.
    """

    def __init__(self, description: str, settings: dict[str, Any]) -> None:
        self.description = description
        self.settings = settings


def choose_sound(path: Path | None = None) -> Sound:
    """Choose a sound: the given file or folder, else the microphone, else a signal.

    Parameters
    ----------
    path
        A sound file, or a folder of them.

    Raises
    ------
    ConfigurationError
        When there is no sound in ``path``.
    """
    if path is not None:
        return _sound_of(path)
    microphone = _find_microphone()
    if microphone is not None:
        identity, name, rate = microphone
        return Sound(
            f"the microphone {name!r} at {rate} Hz",
            {"device_name": identity, "samplerate": rate},
        )
    return Sound(
        f"no microphone found: a generated soundscape at {PREFERRED_SAMPLERATE} Hz "
        "stands for one",
        {"source": "signal", "samplerate": PREFERRED_SAMPLERATE},
    )


def _sound_of(path: Path) -> Sound:
    from acoupi.audio.sources import FileSource

    path = path.expanduser().absolute()
    if not path.exists():
        raise ConfigurationError(
            f"--sound {path}: there is no such file or folder. Give a sound file "
            "(WAV, FLAC, ...) or a folder of them."
        )
    source = FileSource(path)
    try:
        source.check()
        stream = source.open()
    except AcoupiError as error:
        message = str(error).removeprefix("microphone.source_path: ")
        raise ConfigurationError(f"--sound: {message}") from error
    kind = "folder" if path.is_dir() else "file"
    return Sound(
        f"the sound {kind} {path} at {stream.format.samplerate} Hz",
        {
            "source": kind,
            "source_path": str(path),
            "samplerate": stream.format.samplerate,
        },
    )


def _find_microphone() -> tuple[str, str, int] | None:
    """Return identity, name and rate of a microphone that delivers, else None."""
    try:
        probe = subprocess.run(
            [sys.executable, "-c", _PROBE, str(PREFERRED_SAMPLERATE)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT,
            check=False,
        )
        identity, name, rate = json.loads(probe.stdout.decode().splitlines()[-1])
    except (subprocess.TimeoutExpired, OSError, ValueError, IndexError):
        return None
    return str(identity), str(name), int(rate)


def demo_configuration(home: Path, sound: Sound) -> dict[str, Any]:
    """Return the raw configuration of the demonstration in ``home``.

    It records all day, without a break between recordings.
    """
    data = home / "data"
    return {
        "timezone": _machine_timezone(),
        "microphone": sound.settings,
        "recording": {
            "duration": 3,
            "interval": 3,
            "schedule_start": "00:00:00",
            "schedule_end": "00:00:00",
        },
        "paths": {
            "tmp_audio": str(data / "tmp"),
            "recordings": str(data / "recordings"),
            "db_metadata": str(data / "metadata.db"),
        },
    }


def set_up_demo(settings: Settings, sound: Sound) -> None:
    """Set the demonstration up in a home of its own; its data so far are kept.

    Raises
    ------
    ConfigurationError
        When the home is that of another sensor.
    """
    from acoupi.system.configuration import read_program_name
    from acoupi.system.constants import CeleryConfig
    from acoupi.system.programs import load_program
    from acoupi.system.setup import setup_program
    from acoupi.system.validation import validate_config

    if settings.is_set_up and read_program_name(settings) != DEMO_PROGRAM:
        raise ConfigurationError(
            f"{settings.home} is the home of a sensor that runs "
            f"{read_program_name(settings)}: choose another one with --home, or run "
            "that sensor with: acoupi run"
        )
    schema = load_program(DEMO_PROGRAM).get_config_schema()
    config = validate_config(
        schema, demo_configuration(settings.home, sound), source="the demonstration"
    )
    setup_program(settings, DEMO_PROGRAM, config, CeleryConfig())


def _machine_timezone() -> str:
    """Return the IANA name of the machine's time zone, else UTC."""
    import zoneinfo

    named = os.environ.get("TZ", "").lstrip(":")
    link = os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    for name in (named, link):
        try:
            if name:
                return zoneinfo.ZoneInfo(name).key
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return "UTC"
