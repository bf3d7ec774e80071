"""Turns recordings and outputs into rows, and rows into recordings and outputs."""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from acoupi import data

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

__all__ = ["Selection", "read_outputs", "read_recordings", "to_text"]


def to_text(time: datetime.datetime) -> str:
    """Return a time as sortable text in UTC, with microseconds."""
    if time.tzinfo is None:
        time = time.replace(tzinfo=datetime.UTC)
    return time.astimezone(datetime.UTC).isoformat(timespec="microseconds")


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
            f"recording.{column} IN (SELECT value FROM json_each(?))",  # noqa: S608  see above
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

    One query for outputs, one for detections and one for tags, however many
    recordings there are.
    """
    chosen = (
        "(SELECT number FROM model_output WHERE recording IN "
        "(SELECT value FROM json_each(?)))"
    )
    listed = (json.dumps(list(recordings)),)
    tags = _read_tags(connection, chosen, listed)
    detections = _read_detections(connection, chosen, listed, tags)
    outputs: dict[int, list[data.ModelOutput]] = defaultdict(list)
    for number, recording, key, name, created_on in connection.execute(
        "SELECT number, recording, id, name_model, created_on FROM model_output "
        f"WHERE number IN {chosen} ORDER BY number",
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


def _read_tags(
    connection: sqlite3.Connection, chosen: str, listed: tuple[str]
) -> dict[tuple[int, int], list[data.PredictedTag]]:
    known: dict[int, data.Tag] = {}
    tags: dict[tuple[int, int], list[data.PredictedTag]] = defaultdict(list)
    for output, position, number, key, value, score in connection.execute(
        "SELECT output, position, tag, key, value, confidence_score "  # noqa: S608  a constant
        "FROM predicted_tag INNER JOIN tag ON tag = number "
        f"WHERE output IN {chosen} ORDER BY output, position, ordinal",
        listed,
    ):
        tag = known.get(number)
        if tag is None:
            tag = known[number] = data.Tag(key, value)
        tags[output, position].append(data.PredictedTag(tag, score))
    return tags


def _read_detections(
    connection: sqlite3.Connection,
    chosen: str,
    listed: tuple[str],
    tags: dict[tuple[int, int], list[data.PredictedTag]],
) -> dict[int, list[data.Detection]]:
    rows = connection.execute(
        "SELECT output, position, id, detection_score, prediction_type, "  # noqa: S608  a constant
        "start_time, low_freq, end_time, high_freq FROM detection "
        f"WHERE output IN {chosen} ORDER BY output, position",
        listed,
    )
    return {
        output: [
            data.Detection(
                id=UUID(key),
                location=data.BoundingBox(coordinates=tuple(box))
                if box[0] is not None
                else None,
                detection_score=score,
                tags=tags.get((output, position), []),
                prediction_type=kind,
            )
            for _, position, key, score, kind, *box in group
        ]
        for output, group in groupby(rows, key=itemgetter(0))
    }
