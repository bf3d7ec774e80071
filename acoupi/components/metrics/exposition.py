"""Figures as text, in the format that Prometheus and its relatives read.

The format is version 0.0.4 of the `text-based exposition format
<https://prometheus.io/docs/instrumenting/exposition_formats/>`_.
"""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acoupi import data

__all__ = ["CONTENT_TYPE", "exposition_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""How an answer with such a text is marked."""

_LONGEST_LABEL = 200


@dataclass(frozen=True)
class _Family:
    """How a figure of `acoupi.components.health` is called in monitoring."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    label: str | None = None
    """What stands behind the dot in the figure's name, or the text that it is."""
    reads: Literal["number", "time", "text", "list"] = "number"


_FAMILIES = {
    "recording": _Family("recording", "gauge", "Whether sound is being recorded now."),
    "samples_lost": _Family(
        "samples_lost_total",
        "counter",
        "Frames that could not be taken in since the recorder's start.",
    ),
    "recordings_dropped": _Family(
        "recordings_dropped_total",
        "counter",
        "Recordings that gave way to newer ones since the recorder's start.",
    ),
    "reopen_count": _Family(
        "microphone_reopened_total",
        "counter",
        "Times that the microphone was opened again since the recorder's start.",
    ),
    "last_recording_on": _Family(
        "last_recording_timestamp_seconds",
        "gauge",
        "When the recorder's last recording began.",
        reads="time",
    ),
    "microphone_level": _Family(
        "microphone_level_dbfs", "gauge", "Level of the sound, 0 is the loudest."
    ),
    "microphone_peak": _Family(
        "microphone_peak_dbfs", "gauge", "Peak of the sound, 0 is the loudest."
    ),
    "microphone": _Family(
        "microphone_info", "gauge", "Which microphone is in use.", "device", "text"
    ),
    "microphone_problems": _Family(
        "microphone_problems",
        "gauge",
        "How many things seem wrong with the microphone; `acoupi status` names them.",
        reads="list",
    ),
    "recordings": _Family("recordings_total", "counter", "Recordings that were made."),
    "undecided": _Family(
        "recordings_undecided", "gauge", "Recordings that wait for a decision."
    ),
    "set_aside": _Family(
        "recordings_set_aside", "gauge", "Recordings that no analysis could read."
    ),
    "detections": _Family("detections_total", "counter", "Detections in the store."),
    "stored_last_recording_on": _Family(
        "stored_last_recording_timestamp_seconds",
        "gauge",
        "When the last recording in the store began.",
        reads="time",
    ),
    "stored_last_detection_on": _Family(
        "stored_last_detection_timestamp_seconds",
        "gauge",
        "When the last recording with a detection began.",
        reads="time",
    ),
    "backlog": _Family(
        "backlog_recordings", "gauge", "Recordings that wait for their analysis."
    ),
    "lost": _Family("lost_total", "counter", "What was lost, by kind.", "kind"),
    "messages_waiting": _Family(
        "messages_waiting", "gauge", "Messages that wait.", "destination"
    ),
    "messages_sent": _Family(
        "messages_sent_total", "counter", "Acknowledged messages.", "destination"
    ),
    "messages_parked": _Family(
        "messages_parked",
        "gauge",
        "Messages that the receiver refused for good.",
        "destination",
    ),
    "messages_expired": _Family(
        "messages_expired_total",
        "counter",
        "Messages given up for age or number.",
        "destination",
    ),
    "disk_free": _Family("disk_free_bytes", "gauge", "Free space.", "path"),
    "disk_total": _Family("disk_size_bytes", "gauge", "Size of the disk.", "path"),
    "clock_synchronised": _Family(
        "clock_synchronised", "gauge", "Whether the clock is known to be set."
    ),
    "uptime": _Family("uptime_seconds", "gauge", "Since the machine's start."),
    "load": _Family("load1", "gauge", "Processes that want a core, over a minute."),
    "cpus": _Family("cpus", "gauge", "Cores of the machine."),
    "memory_available": _Family(
        "memory_available_bytes", "gauge", "Memory that programs can have."
    ),
    "memory_total": _Family("memory_size_bytes", "gauge", "Memory of the machine."),
    "cpu_temperature": _Family(
        "cpu_temperature_celsius", "gauge", "Temperature of the processor."
    ),
}


def exposition_text(metrics: Iterable[data.Metric], version: str | None = None) -> str:
    """Write figures as lines of text.

    Parameters
    ----------
    metrics
        From `acoupi.components.health.collect_metrics`. A figure of another name
        becomes ``acoupi_<name>``; a text becomes the label of an ``_info`` figure.
    version
        Of acoupi; default: the one that runs.

    Returns
    -------
    str
        Each family of figures with its explanation and type, in the order given.
    """
    import acoupi

    families: dict[str, tuple[_Family, dict[str, float]]] = {}
    software = _Family("info", "gauge", "The software.", "version")
    families["info"] = software, {_label(software, version or acoupi.__version__): 1.0}
    for metric in metrics:
        base, _, rest = metric.name.partition(".")
        family = _FAMILIES.get(base) or _unknown(base, metric.value)
        sample = _sample(family, rest, metric.value)
        if sample is not None:
            labels, number = sample
            # Two figures of one name and label would make the whole text invalid.
            _, samples = families.setdefault(family.name, (family, {}))
            samples.setdefault(labels, number)
    lines = []
    for family, samples in families.values():
        name = f"acoupi_{family.name}"
        lines.append(f"# HELP {name} {_escape(family.help)}")
        lines.append(f"# TYPE {name} {family.kind}")
        lines += [f"{name}{labels} {_number(n)}" for labels, n in samples.items()]
    return "\n".join(lines) + "\n"


def _unknown(base: str, value: object) -> _Family:
    name = re.sub(r"[^a-zA-Z0-9_]", "_", base) or "unnamed"
    # The ending of counters, which this need not be.
    name = re.sub("(_total)+$", "", name) or "total"
    if isinstance(value, str):
        return _Family(f"{name}_info", "gauge", "A text.", "value", "text")
    return _Family(name, "gauge", "A figure of the program.", "name")


def _sample(
    family: _Family, rest: str, value: float | str | bool | None
) -> tuple[str, float] | None:
    if value is None:
        return None
    if family.reads == "text":
        return _label(family, str(value)), 1.0
    labels = _label(family, rest) if rest else ""
    if family.reads == "list":
        return labels, float(len([part for part in str(value).split("; ") if part]))
    if family.reads == "time" and isinstance(value, str):
        try:
            moment = datetime.datetime.fromisoformat(value)
        except ValueError:
            return None
        return labels, moment.timestamp()
    return None if isinstance(value, str) else (labels, float(value))


def _label(family: _Family, text: str) -> str:
    value = _escape(text[:_LONGEST_LABEL]).replace('"', r"\"")
    return f'{{{family.label or "name"}="{value}"}}'


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() else repr(value)
