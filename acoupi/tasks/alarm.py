"""The task that reports at once when something is wrong with the microphone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from acoupi.components.health import read_recorder_status

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["LOOK_INTERVAL", "SHORTEST_PAUSE", "generate_alarm_task"]

LOOK_INTERVAL = 60.0
"""Seconds between two looks at the recorder."""

SHORTEST_PAUSE = 300.0
"""Seconds between two alarms at least: what comes and goes fills no outbox."""

_SILENT_RECORDER = "the recorder has not reported for a while"


def generate_alarm_task(
    heartbeat: Callable[[], object],
    status_file: Path,
    clock: Callable[[], float] = time.monotonic,
) -> Callable[[], None]:
    """Build the task that sends a heartbeat early when other problems are there.

    Heartbeats are an hour apart by default; a microphone that falls silent, or is
    well again, is told within some minutes.

    Parameters
    ----------
    heartbeat
        Queues a message with the state of the sensor.
    status_file
        What the recorder says of itself.
    clock
        Monotonic, in seconds.

    Returns
    -------
    Callable[[], None]
        The task.
    """
    told: set[str] = set()
    told_at = -SHORTEST_PAUSE

    def alarm_task() -> None:
        """Queue a heartbeat when problems of the recorder came or went."""
        nonlocal told, told_at
        kinds = _find_problems(status_file)
        now = clock()
        if kinds == told or now - told_at < SHORTEST_PAUSE:
            return
        heartbeat()
        told, told_at = kinds, now

    return alarm_task


def _find_problems(status_file: Path) -> set[str]:
    status = read_recorder_status(status_file)
    if status is None:
        return set()
    if not status["current"]:
        return {_SILENT_RECORDER}
    problems = status.get("problems")
    if not isinstance(problems, list):
        return set()
    # Figures, which change all the time, come behind the name of a problem.
    return {str(problem).partition(": ")[0] for problem in problems}
