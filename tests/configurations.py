"""Configurations of programs for homes of the tests, with everything in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def paths_below(root: Path) -> dict[str, str]:
    """Return the paths of a program that keeps everything in a directory."""
    return {
        "tmp_audio": str(root / "audio"),
        "recordings": str(root / "recordings"),
        "db_metadata": str(root / "sensor.db"),
    }


def gapless(root: Path, seconds: float = 1, **microphone: Any) -> dict[str, Any]:
    """Return the configuration of a program that records a signal day and night.

    Parameters
    ----------
    root : Path
        Where it keeps everything.
    seconds : float
        The length of a recording.
    **microphone
        More of the microphone's settings.
    """
    return {
        "microphone": {"source": "signal", **microphone},
        "recording": {
            "duration": seconds,
            "interval": seconds,
            "schedule_start": "00:00",
            "schedule_end": "00:00",
        },
        "paths": paths_below(root),
    }
