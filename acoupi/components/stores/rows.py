"""Turns recordings and outputs into rows, and rows into recordings and outputs."""

from __future__ import annotations

import contextlib
import datetime
import gc
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter

from acoupi import data

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

_DETECTIONS = TypeAdapter(list[data.Detection])

__all__ = ["Selection", "read_outputs", "read_recordings", "shorten", "to_text"]

MAX_REASON = 300
"""Characters kept of a reason."""


def to_text(time: datetime.datetime) -> str:
    """Return a time as sortable text in UTC, with microseconds."""
    return data.as_utc(time).isoformat(timespec="microseconds")


def from_text(text: str) -> datetime.datetime:
    """Return the time that `to_text` wrote."""
    return datetime.datetime.fromisoformat(text)


class Selection(NamedTuple):
    """Which recordings to read: an SQL condition on ``recording`` and its values."""

    condition: str
    values: tuple[object, ...] = ()

    @classmethod
    def everything(cls) -> Selection:
        """Select all recordings."""
        return cls("TRUE")

    @classmethod
    def among(cls, column: str, values: Iterable[object]) -> Selection:
        """Select recordings whose ``column`` is one of the values, any number of them.

        ``column`` is a name written in the program, never input.
        """
        listed = json.dumps([str(value) for value in values])
        return cls(
            f"recording.{column} IN (SELECT value FROM json_each(?))",  # noqa: S608 - a name of ours
            (listed,),
        )


def write_deployment(
    connection: sqlite3.Connection, deployment: data.Deployment, *, adopted: bool
) -> None:
    """Insert a deployment, unless it is there already."""
    connection.execute(
        "INSERT INTO deployment "
        "(id, name, latitude, longitude, started_on, ended_on, adopted) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (
            str(deployment.id),
            deployment.name,
            deployment.latitude,
            deployment.longitude,
            to_text(deployment.started_on),
            to_text(deployment.ended_on) if deployment.ended_on else None,
            adopted,
        ),
    )


def read_deployment(row: tuple[str, str, float, float, str, str]) -> data.Deployment:
    """Build a deployment from id, name, latitude, longitude, started_on, ended_on."""
    key, name, latitude, longitude, started_on, ended_on = row
    return data.Deployment(
        id=UUID(key),
        name=name,
        latitude=latitude,
        longitude=longitude,
        started_on=from_text(started_on),
        ended_on=from_text(ended_on) if ended_on else None,
    )


DEPLOYMENT_COLUMNS = "id, name, latitude, longitude, started_on, ended_on"


def write_recording(connection: sqlite3.Connection, recording: data.Recording) -> bool:
    """Insert a recording and its deployment; return False when it is there already."""
    write_deployment(connection, recording.deployment, adopted=True)
    capture = recording.capture
    path = str(recording.path) if recording.path is not None else None
    cursor = connection.execute(
        "INSERT INTO recording (id, deployment, created_on, duration, samplerate, "
        "audio_channels, time_expansion, path, origin, capture, boot_id) "
        "SELECT ?, number, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM deployment WHERE id = ? "
        "ON CONFLICT (id) DO NOTHING",
        (
            str(recording.id),
            to_text(recording.created_on),
            recording.duration,
            recording.samplerate,
            recording.audio_channels,
            recording.time_expansion,
            path,
            path,
            capture.model_dump_json(exclude_defaults=True) if capture else None,
            capture.clock.boot_id if capture and capture.clock else None,
            str(recording.deployment.id),
        ),
    )
    return cursor.rowcount > 0


def write_output(connection: sqlite3.Connection, output: data.ModelOutput) -> bool:
    """Insert an output; return False when its recording has one of that model."""
    cursor = connection.execute(
        "INSERT INTO model_output (id, recording, name_model, created_on) "
        "SELECT ?, number, ?, ? FROM recording WHERE id = ? "
        "ON CONFLICT (recording, name_model) DO NOTHING",
        (
            str(output.id),
            output.name_model,
            to_text(output.created_on),
            str(output.recording.id),
        ),
    )
    if cursor.rowcount < 1:
        return False
    number = cursor.lastrowid
    nowhere = (None, None, None, None)
    connection.executemany(
        "INSERT INTO detection (output, position, id, detection_score, "
        "prediction_type, start_time, low_freq, end_time, high_freq) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                number,
                position,
                str(detection.id),
                detection.detection_score,
                detection.prediction_type,
                *(detection.location.coordinates if detection.location else nowhere),
            )
            for position, detection in enumerate(output.detections)
        ],
    )
    tags = [
        (number, position, ordinal, predicted.confidence_score, predicted.tag)
        for position, detection in enumerate(output.detections)
        for ordinal, predicted in enumerate(detection.tags)
    ]
    connection.executemany(
        "INSERT INTO tag (key, value) VALUES (?, ?) "
        "ON CONFLICT (key, value) DO NOTHING",
        {(tag.key, tag.value) for *_, tag in tags},
    )
    connection.executemany(
        "INSERT INTO predicted_tag (output, position, ordinal, confidence_score, tag) "
        "SELECT ?, ?, ?, ?, number FROM tag WHERE key = ? AND value = ?",
        [(*row, tag.key, tag.value) for *row, tag in tags],
    )
    return True


def read_recordings(
    connection: sqlite3.Connection, selection: Selection, limit: int = -1
) -> dict[int, data.Recording]:
    """Return the selected recordings by their number, in the order of storing."""
    deployments: dict[int, data.Deployment] = {}
    recordings = {}
    rows = connection.execute(
        "SELECT number, deployment, id, created_on, duration, samplerate, "  # noqa: S608  conditions are ours
        "audio_channels, time_expansion, path, capture "
        f"FROM recording WHERE {selection.condition} ORDER BY number LIMIT ?",
        (*selection.values, limit),
    ).fetchall()
    for row in rows:
        number, deployment, key, created_on, duration, rate, *rest = row
        channels, expansion, path, capture = rest
        if deployment not in deployments:
            deployments[deployment] = read_deployment(
                connection.execute(
                    f"SELECT {DEPLOYMENT_COLUMNS} FROM deployment WHERE number = ?",  # noqa: S608  a constant
                    (deployment,),
                ).fetchone()
            )
        recordings[number] = data.Recording(
            id=UUID(key),
            created_on=from_text(created_on),
            duration=duration,
            samplerate=rate,
            deployment=deployments[deployment],
            path=Path(path) if path is not None else None,
            audio_channels=channels,
            time_expansion=expansion,
            capture=data.CaptureReport.model_validate_json(capture)
            if capture
            else None,
        )
    return recordings


def read_outputs(
    connection: sqlite3.Connection, recordings: dict[int, data.Recording]
) -> dict[int, list[data.ModelOutput]]:
    """Return the outputs of the recordings, by recording number.

    One query for outputs and one for detections, however many recordings there are.
    """
    listed = (json.dumps(list(recordings)),)
    detections = _read_detections(connection, listed)
    outputs: dict[int, list[data.ModelOutput]] = defaultdict(list)
    for number, recording, key, name, created_on in connection.execute(
        "SELECT number, recording, id, name_model, created_on FROM model_output "
        "WHERE recording IN (SELECT value FROM json_each(?)) ORDER BY number",
        listed,
    ):
        outputs[recording].append(
            data.ModelOutput(
                id=UUID(key),
                name_model=name,
                recording=recordings[recording],
                detections=detections.get(number, []),
                created_on=from_text(created_on),
            )
        )
    return outputs


def _read_detections(
    connection: sqlite3.Connection, listed: tuple[str]
) -> dict[int, list[data.Detection]]:
    """Return detections by output number.

    All are validated in one call: half the time of building one after the other.
    """
    fields: list[dict[str, object]] = []
    owners: list[int] = []
    known: dict[int, data.Tag] = {}
    tags: list[data.PredictedTag] = []
    last = (-1, -1)
    for row in connection.execute(
        "SELECT detection.output, detection.position, id, detection_score, "
        "prediction_type, start_time, low_freq, end_time, high_freq, "
        "predicted_tag.tag, confidence_score "
        "FROM detection LEFT JOIN predicted_tag "
        "ON predicted_tag.output = detection.output "
        "AND predicted_tag.position = detection.position "
        "WHERE detection.output IN (SELECT number FROM model_output "
        "WHERE recording IN (SELECT value FROM json_each(?))) "
        "ORDER BY detection.output, detection.position, ordinal",
        listed,
    ):
        if row[:2] != last:
            last = row[:2]
            tags = []
            owners.append(row[0])
            fields.append(
                {
                    "id": row[2],
                    "location": None if row[5] is None else {"coordinates": row[5:9]},
                    "detection_score": row[3],
                    "tags": tags,
                    "prediction_type": row[4],
                }
            )
        number = row[9]
        if number is None:
            continue
        tag = known.get(number)
        if tag is None:
            tag = known[number] = data.Tag(
                *connection.execute(
                    "SELECT key, value FROM tag WHERE number = ?", (number,)
                ).fetchone()
            )
        tags.append(data.PredictedTag(tag, row[10]))
    detections: dict[int, list[data.Detection]] = defaultdict(list)
    for output, detection in zip(
        owners, _DETECTIONS.validate_python(fields), strict=True
    ):
        detections[output].append(detection)
    return detections


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Hold the garbage collector back while many objects that stay are built.

    It would walk all of them again and again: more than half the time of a large
    read.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def shorten(reason: str | None) -> str | None:
    """Return a reason as long as it is kept."""
    return reason[:MAX_REASON] if reason is not None else None
