"""The sensor under examination, and the machine that it is on."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.audio.wallclock import clock_is_synchronised

if TYPE_CHECKING:
    from acoupi.system.liveness import Liveness
    from acoupi.system.settings import Settings

__all__ = ["Machine", "Sensor", "read_json", "read_text"]

_MOST_BYTES = 2_000_000
"""Bytes read of a file at most: whatever lies in its place must not fill memory."""


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Machine:
    """What the kernel tells of the machine. Everything is read, nothing is opened
    that could be in use."""  # noqa: D205,D209 - one sentence

    root: Path = Path("/")
    """Directory that holds ``proc``, ``sys``, ``dev`` and ``var``."""
    clock_is_set: Callable[[], bool] = clock_is_synchronised
    now: Callable[[], datetime.datetime] = _utc_now
    uptime: Callable[[], float] = field(
        default=lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    )
    """Seconds since the kernel started."""

    def path(self, name: str) -> Path:
        """Return where a file of the system is, by its absolute path less the slash."""
        return self.root / name

    def read(self, name: str) -> str | None:
        """Return the content of a file of the system, None when there is none."""
        return read_text(self.path(name))


class Sensor:
    """What an examination looks at: files, processes and the recorder's own report.

    Reads only, and as it is: a setup that was cut short is found, not undone.

    Parameters
    ----------
    settings
        The home.
    machine
        Default: this one.
    """

    def __init__(self, settings: Settings, machine: Machine | None = None) -> None:
        self.settings = settings
        self.machine = machine or Machine()

    @cached_property
    def program(self) -> str | None:
        """Dotted name of the program's module; None when none is set up."""
        return (read_text(self.settings.name_file) or "").strip() or None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The program's configuration as it is stored; empty when it is unreadable."""
        return _as_mapping(self._raw_config)

    @property
    def configured(self) -> bool:
        """Whether the program's configuration can be read; it may have no settings."""
        return isinstance(self._raw_config, dict)

    @cached_property
    def _raw_config(self) -> Any:
        return read_json(self.settings.program_file)

    @cached_property
    def celery(self) -> dict[str, Any]:
        """The configuration of Celery as it is stored."""
        return _as_mapping(read_json(self.settings.celery_file))

    @cached_property
    def alive(self) -> Liveness:
        """The sensor's processes."""
        from acoupi.system.liveness import observe_processes

        return observe_processes(self.settings)

    @property
    def running(self) -> bool:
        """Whether any process of the sensor runs."""
        return self.alive.running

    @cached_property
    def recorder(self) -> dict[str, Any] | None:
        """What the recorder says of itself; None when it never did."""
        from acoupi.components.health import read_recorder_status

        return read_recorder_status(self.settings.run_dir / "recorder.json")

    def setting(self, *keys: str) -> Any:
        """Return a value of the configuration by its keys, None when there is none."""
        value: Any = self.config
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def path_setting(self, *keys: str) -> Path | None:
        """Return a path of the configuration, None when there is none."""
        value = self.setting(*keys)
        return Path(value).expanduser() if isinstance(value, str) and value else None


def read_text(path: Path) -> str | None:
    """Return the beginning of a file as text, None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return None


def read_json(path: Path) -> Any:
    """Return the data in a JSON file, None when it cannot be read."""
    try:
        return json.loads(read_text(path) or "null")
    except ValueError:
        return None


def _as_mapping(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}
