"""How the sensor is, seen from outside: what it does now, and whether it can work.

`status` reads what the processes leave behind (status file, databases, units) and
loads neither the program nor Celery; `check` tries the parts.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.components.places import existing_place
from acoupi.errors import AcoupiError
from acoupi.system.checks import Check, check
from acoupi.system.configuration import read_program_name, read_raw_config
from acoupi.system.deployments import get_last_deployment
from acoupi.system.liveness import observe_processes
from acoupi.system.records import read_messages, read_recordings
from acoupi.system.troubles import read_troubles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from acoupi.system.settings import Settings

__all__ = ["Check", "check", "is_recording", "status"]

LOW_SPACE = 500e6
"""Bytes of free space below which it is a problem."""

FEW_INODES = 100
"""Files that a disk can still take below which it is a problem."""

LONG_WAY = 60.0
"""Seconds that a process may take to start or to stop."""

SETTLED = 600.0
"""Seconds after which a process that was restarted counts as well again."""

LARGE_BACKLOG = 1000
"""Undecided recordings from which the sensor does not keep up."""


def status(settings: Settings) -> dict[str, Any]:
    """Return what a sensor is doing, as plain data.

    Returns
    -------
    dict
        ``home``, ``program``, ``managed_by``; ``running``, ``kept_by``, ``processes``;
        ``troubles`` (what the processes logged as errors lately);
        ``recorder`` (what the recording worker says, with its ``age`` in seconds and
        whether it is ``current``), ``store``, ``messages``, ``disk``, ``clock``,
        ``deployment``; ``problems``, a list of sentences. A part that cannot be read
        is None, and a problem says why.

    Raises
    ------
    NotSetUpError
        When no program is set up.
    """
    from acoupi.components.health import clock_state, read_recorder_status

    program = read_program_name(settings)
    problems: list[str] = []
    config = _attempt(problems, lambda: read_raw_config(settings.program_file)) or {}
    alive = observe_processes(settings)
    recorder = read_recorder_status(settings.run_dir / "recorder.json")
    database = _path_in(config, "paths", "db_metadata")
    outbox = _path_in(config, "messaging", "messages_db")
    store = _attempt(problems, lambda: database and read_recordings(database))
    messages = _attempt(problems, lambda: outbox and read_messages(outbox))
    deployment = _attempt(problems, lambda: get_last_deployment(settings))
    clock = clock_state()
    found: dict[str, Any] = {
        "home": str(settings.home),
        "program": program,
        "managed_by": settings.managed_by,
        "timezone": _in(config, "timezone"),
        "running": alive.running,
        "kept_by": alive.kept_by,
        "processes": [asdict(process) for process in alive.processes],
        "troubles": read_troubles(settings.run_dir),
        "recorder": recorder,
        "store": store,
        "messages": messages,
        "disk": _disk(
            _path_in(config, "paths", "recordings") or settings.home,
            store,
            _in(config, "retention", "min_free_space"),
        ),
        "clock": {"synchronised": clock.synchronised},
        "deployment": deployment.model_dump(mode="json") if deployment else None,
    }
    places = [path for path in (_path_in(config, "paths", "recordings"),) if path]
    problems += _refusals([settings.home, *places])
    found["problems"] = [*problems, *_problems(found)]
    return found


def _attempt(problems: list[str], read: Callable[[], Any]) -> Any:
    try:
        return read() or None
    except AcoupiError as error:
        problems.append(str(error))
    except (OSError, sqlite3.Error) as error:
        problems.append(f"the database cannot be read: {error}")
    return None


def _in(config: Any, *keys: str) -> Any:
    for key in keys:
        config = config.get(key) if isinstance(config, dict) else None
    return config


def _path_in(config: Any, *keys: str) -> Path | None:
    value = _in(config, *keys)
    return Path(value) if isinstance(value, str) else None


def _disk(
    path: Path, store: dict[str, Any] | None, reserve: Any
) -> dict[str, Any] | None:
    try:
        path = existing_place(path)
        usage = shutil.disk_usage(path)
    except OSError:
        return None
    daily = store["kept_bytes_per_day"] if store else 0
    kept_free = reserve * 1e6 if isinstance(reserve, int | float) else 0.0
    usable = max(0.0, usage.free - kept_free)
    return {
        "path": str(path),
        "total_bytes": usage.total,
        "free_bytes": usage.free,
        # From what was kept in the last day; compressed files last longer. After
        # that the oldest recordings are deleted, when the configuration says so.
        "days_left": round(usable / daily, 1) if daily else None,
        "low": usage.free < _low_space(kept_free),
    }


def _refusals(places: list[Path]) -> Iterator[str]:
    """Say of each disk that takes no more files why it does not."""
    seen: set[int] = set()
    for path in places:
        there = path
        try:
            there = existing_place(path)
            device, space = there.stat().st_dev, os.statvfs(there)
        except OSError as error:
            yield f"{there} cannot be read: {error.strerror}"
            continue
        if device in seen:
            continue
        seen.add(device)
        if space.f_flag & os.ST_RDONLY:
            yield f"{there} is read-only: nothing can be stored"
        elif space.f_files and space.f_favail < FEW_INODES:
            yield f"the disk of {there} takes no more files: it has no inodes left"


def _low_space(kept_free: float) -> float:
    """Return from how many free bytes on a disk is nearly full.

    Retention keeps the free space near its reserve, which is no problem.
    """
    return min(LOW_SPACE, 0.8 * kept_free) if kept_free else LOW_SPACE


def _process_problems(processes: list[dict[str, Any]]) -> Iterator[str]:
    for process in processes:
        name, seconds = process["name"], process["seconds"]
        if process["state"] == "failed":
            yield f"the process {name} has failed: see its log"
        elif seconds is None:
            continue
        elif process["state"] in {"starting", "stopping"} and seconds > LONG_WAY:
            yield f"the process {name} has been {process['state']} for {seconds:.0f} s"
        elif process["restarts"] and seconds < SETTLED:
            times = (
                "once" if process["restarts"] == 1 else f"{process['restarts']} times"
            )
            yield (
                f"the process {name} ended and was started again, {times} so far, "
                f"{seconds:.0f} s ago the last time: see its log"
            )


def _describe_trouble(trouble: dict[str, Any]) -> str:
    times = f" ({trouble['count']} times)" if trouble["count"] > 1 else ""
    return f"{trouble['role']}, {trouble['age']:.0f} s ago{times}: {trouble['text']}"


def _problems(found: dict[str, Any]) -> list[str]:
    problems = [*_process_problems(found["processes"])]
    problems += [_describe_trouble(trouble) for trouble in found["troubles"]]
    recorder, running = found["recorder"], found["running"]
    if running and (recorder is None or not recorder["current"]):
        problems.append("the recorder has not reported for a while")
    elif running and recorder is not None:
        problems += [f"microphone: {text}" for text in recorder.get("problems", [])]
    disk = found["disk"]
    if disk is not None and disk["low"]:
        problems.append(
            f"only {disk['free_bytes'] / 1e6:.0f} MB are free at {disk['path']}"
        )
    store = found["store"]
    if store is not None and store["undecided"] >= LARGE_BACKLOG:
        problems.append(f"{store['undecided']} recordings wait for a decision")
    for destination, counts in (found["messages"] or {}).items():
        if counts["parked"]:
            problems.append(
                f"{counts['parked']} messages to {destination} were set aside: the "
                "receiver refused them for good"
            )
    if running and not found["clock"]["synchronised"]:
        problems.append("the clock is not known to be set")
    return problems


def is_recording(found: dict[str, Any]) -> bool:
    """Tell from a status whether sound is being recorded now."""
    from acoupi.components.health import takes_sound_in

    recorder = found["recorder"]
    if not recorder or not recorder["current"]:
        return False
    return takes_sound_in(recorder)
