"""The sensor's figures, read from what its processes leave behind.

The same that the heartbeat carries and that the sensor itself offers to a monitoring
system (`acoupi.components.metrics`), save the backlog: which analyses a recording
needs is known to the program alone, which is not loaded here.
"""

from __future__ import annotations

import datetime
import logging
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from acoupi.system.configuration import read_program_name, read_raw_config
from acoupi.system.records import read_messages, read_recordings

if TYPE_CHECKING:
    from collections.abc import Callable

    from acoupi import data
    from acoupi.system.settings import Settings

__all__ = ["read_metrics"]

logger = logging.getLogger(__name__)


def read_metrics(settings: Settings) -> list[data.Metric]:
    """Return the figures of the sensor that is set up; disturbs nothing.

    Figures that cannot be read are left out, with a warning in the log.

    Raises
    ------
    ConfigurationError
        When no program is set up, or its configuration cannot be read.
    """
    from acoupi.components.health import collect_metrics

    read_program_name(settings)
    config = read_raw_config(settings.program_file)
    database = _path_in(config, "paths", "db_metadata")
    outbox = _path_in(config, "messaging", "messages_db")
    paths = [
        path
        for key in ("recordings", "tmp_audio")
        if (path := _path_in(config, "paths", key)) is not None
    ]
    return collect_metrics(
        store=_attempt(_ReadStore, database),
        message_store=_attempt(_ReadOutbox, outbox),
        status_file=settings.run_dir / "recorder.json",
        paths=paths or [settings.home],
    )


def _path_in(config: Any, *keys: str) -> Path | None:
    for key in keys:
        config = config.get(key) if isinstance(config, dict) else None
    return Path(config) if isinstance(config, str) else None


def _attempt(read: Callable[[Path], Any], path: Path | None) -> Any:
    if path is None:
        return None
    try:
        return read(path)
    except (OSError, sqlite3.Error) as error:
        logger.warning("%s cannot be read: %s", path, error)
        return None


class _ReadStore:
    """Counts like a store, without opening it for writing."""

    def __init__(self, path: Path) -> None:
        self._found = read_recordings(path)

    def counts(self) -> SimpleNamespace:
        found = self._found or {}
        numbers = ("recordings", "undecided", "set_aside", "detections")
        return SimpleNamespace(
            **{name: found.get(name) for name in numbers},
            last_recording_on=_moment(found.get("last_recording_on")),
            last_detection_on=_moment(found.get("last_detection_on")),
        )

    def total_losses(self) -> dict[str, int]:
        return self._found["losses"] if self._found else {}


class _ReadOutbox:
    """Counts like an outbox, without opening it for writing."""

    def __init__(self, path: Path) -> None:
        self._found = read_messages(path) or {}

    def counts(self) -> dict[str, SimpleNamespace]:
        return {name: SimpleNamespace(**states) for name, states in self._found.items()}


def _moment(text: str | None) -> datetime.datetime | None:
    if text is None:
        return None
    moment = datetime.datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
