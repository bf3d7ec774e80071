"""How the sensor itself is: figures for the heartbeat and for people.

Each figure is a `data.Metric` with a name that stays the same, a value and a unit.
A figure that cannot be had on this machine is left out; none of them ever stops the
others from being reported.
"""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi import data
from acoupi.audio.wallclock import clock_is_synchronised, read_boot_id
from acoupi.components.places import existing_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = [
    "STATUS_MAX_AGE",
    "clock_state",
    "collect_metrics",
    "machine_metrics",
    "message_metrics",
    "read_recorder_status",
    "recorder_metrics",
    "space_metrics",
    "store_metrics",
]

STATUS_MAX_AGE = 30.0
"""Seconds after which the recorder's status file speaks of the past only."""

_MAX_STATUS_BYTES = 1_000_000

logger = logging.getLogger(__name__)


def clock_state() -> data.ClockState:
    """Return what is known of the wall clock at this moment."""
    return data.ClockState(
        synchronised=clock_is_synchronised(),
        boot_id=read_boot_id(),
        monotonic=time.monotonic(),
    )


def read_recorder_status(path: Path) -> dict[str, Any] | None:
    """Read what the recorder says of itself.

    Returns
    -------
    dict or None
        The content of the file and two more entries: ``age``, the seconds since it was
        written, and ``current``, whether it is of this boot and at most
        `STATUS_MAX_AGE` old. None when there is no readable file: then no recorder has
        run.
    """
    try:
        try:
            status = _read_status(path)
        except ValueError:
            # It may have been written to just now; that takes no time.
            time.sleep(0.01)
            status = _read_status(path)
    except (OSError, ValueError):
        return None
    if not isinstance(status, dict):
        return None
    written = status.get("updated_monotonic")
    age = None
    if isinstance(written, int | float) and status.get("boot_id") == read_boot_id():
        age = max(0.0, time.monotonic() - written)
    current = age is not None and age <= STATUS_MAX_AGE
    return {**status, "age": age, "current": current}


def _read_status(path: Path) -> Any:
    with path.open("rb") as stream:
        return json.loads(stream.read(_MAX_STATUS_BYTES))


def recorder_metrics(status_file: Path) -> Iterator[data.Metric]:
    """Yield what the recorder reports: activity, losses, level, problems."""
    status = read_recorder_status(status_file)
    alive = status is not None and status["current"]
    recording = status is not None and alive and takes_sound_in(status)
    yield data.Metric(name="recording", value=recording)
    if status is None:
        return
    for name, unit in (
        ("samples_lost", "frames"),
        ("recordings_dropped", None),
        ("reopen_count", None),
        ("last_recording_on", None),
    ):
        if name in status:
            yield data.Metric(name=name, value=_plain(status[name]), unit=unit)
    # A level from before the recorder stopped would hide that it did.
    if not alive:
        return
    for name, key in (
        ("microphone_level", "level_dbfs"),
        ("microphone_peak", "peak_dbfs"),
    ):
        if (value := status.get(key)) is not None:
            yield data.Metric(name=name, value=_plain(value), unit="dBFS")
    if status.get("device") is not None:
        yield data.Metric(name="microphone", value=_plain(status["device"]))
    problems = status.get("problems")
    if isinstance(problems, list):
        text = "; ".join(str(problem) for problem in problems)
        yield data.Metric(name="microphone_problems", value=text)


def store_metrics(
    store: Any, required_models: Sequence[str] = ()
) -> Iterator[data.Metric]:
    """Yield how much was recorded and detected, what waits, and what was lost."""
    counts = store.counts()
    for name in ("recordings", "undecided", "set_aside", "detections"):
        if (value := getattr(counts, name, None)) is not None:
            yield data.Metric(name=name, value=value)
    for name in ("last_recording_on", "last_detection_on"):
        if (value := getattr(counts, name, None)) is not None:
            yield data.Metric(name=f"stored_{name}", value=value.isoformat())
    backlog = store.backlog(list(required_models)) if required_models else None
    if backlog is not None:
        yield data.Metric(name="backlog", value=backlog, unit="recordings")
    for kind, count in sorted(store.total_losses().items()):
        yield data.Metric(name=f"lost.{kind}", value=count)


def message_metrics(message_store: Any) -> Iterator[data.Metric]:
    """Yield how many messages wait for, reached or were given up for whom."""
    if not hasattr(message_store, "counts"):
        waiting = len(message_store.get_unsent_messages())
        yield data.Metric(name="messages_waiting", value=waiting)
        return
    for destination, counts in sorted(message_store.counts().items()):
        for state in ("waiting", "sent", "parked", "expired"):
            if (value := getattr(counts, state, None)) is not None:
                yield data.Metric(name=f"messages_{state}.{destination}", value=value)


def space_metrics(paths: Iterable[Path]) -> Iterator[data.Metric]:
    """Yield the free space of each file system that the paths are on, once each."""
    seen: set[int] = set()
    for path in paths:
        try:
            place = existing_place(path)
            device = place.stat().st_dev
            space = os.statvfs(place)
        except OSError as error:
            logger.warning("the free space of %s cannot be read: %s", path, error)
            continue
        if device in seen:
            continue
        seen.add(device)
        free = space.f_bavail * space.f_frsize
        total = space.f_blocks * space.f_frsize
        yield data.Metric(name=f"disk_free.{path}", value=free, unit="B")
        yield data.Metric(name=f"disk_total.{path}", value=total, unit="B")


def machine_metrics() -> Iterator[data.Metric]:
    """Yield memory, load, temperature, uptime and the state of the clock."""
    yield data.Metric(name="clock_synchronised", value=clock_is_synchronised())
    yield data.Metric(
        name="uptime", value=round(time.clock_gettime(time.CLOCK_BOOTTIME)), unit="s"
    )
    yield data.Metric(name="load", value=round(os.getloadavg()[0], 2))
    import psutil

    yield data.Metric(name="cpus", value=psutil.cpu_count() or 1)
    memory = psutil.virtual_memory()
    yield data.Metric(name="memory_available", value=memory.available, unit="B")
    yield data.Metric(name="memory_total", value=memory.total, unit="B")
    # Not on every kind of machine, and empty in most virtual ones.
    read_temperatures = getattr(psutil, "sensors_temperatures", dict)
    sensors: Mapping[str, Sequence[Any]] = read_temperatures()
    for name in ("cpu_thermal", "coretemp", "k10temp", "soc_thermal", *sensors):
        if sensors.get(name):
            hottest = max(reading.current for reading in sensors[name])
            yield data.Metric(
                name="cpu_temperature", value=round(hottest, 1), unit="°C"
            )
            break


def collect_metrics(
    store: Any = None,
    message_store: Any = None,
    status_file: Path | None = None,
    paths: Iterable[Path] = (),
    required_models: Sequence[str] = (),
) -> list[data.Metric]:
    """Collect every figure that can be had.

    Parameters
    ----------
    store, message_store
        Where recordings and messages are counted; None to leave those figures out. A
        store of another kind that lacks the counting methods is left out, too.
    status_file
        What the recorder says of itself.
    paths
        Whose free space matters.
    required_models
        Models that every recording is to have passed.
    """
    sources: list[Callable[[], Iterator[data.Metric]]] = [machine_metrics]
    if status_file is not None:
        sources.append(lambda: recorder_metrics(status_file))
    if store is not None and hasattr(store, "counts"):
        sources.append(lambda: store_metrics(store, required_models))
    if message_store is not None:
        sources.append(lambda: message_metrics(message_store))
    sources.append(lambda: space_metrics(paths))
    metrics: list[data.Metric] = []
    for source in sources:
        try:
            # One by one, so that what came before a fault is kept.
            for metric in source():
                metrics.append(metric)  # noqa: PERF402 - extend would lose them
        except Exception:
            logger.warning("some figures of the heartbeat cannot be had", exc_info=True)
    return metrics


def takes_sound_in(status: Mapping[str, Any]) -> bool:
    """Tell from what a recorder reports whether it records."""
    # Between two recordings no file is open, but the microphone is.
    between = status.get("capturing") and not status.get("waiting_on_purpose")
    return bool(status.get("recording") or between)


def _plain(value: Any) -> float | int | str | bool | None:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)
