"""What the databases of a sensor say, read without touching them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

__all__ = ["read_messages", "read_recordings", "reading"]

_WAIT = 0.5
"""Seconds to wait for a lock: a status comes late rather than never."""

_STATES = ("undecided", "kept", "deleted", "set_aside", "missing")

_KEPT_BYTES = """
SELECT coalesce(sum(duration * samplerate * coalesce(audio_channels, 1) * 2), 0)
FROM recording
WHERE state = 'kept'
    AND created_on >= strftime('%Y-%m-%dT%H:%M:%S', 'now', '-1 day')
"""

_LAST_DETECTION = """
SELECT recording.created_on
FROM model_output JOIN recording ON model_output.recording = recording.number
WHERE model_output.number = (SELECT max(output) FROM detection)
"""


def read_recordings(path: Path) -> dict[str, Any] | None:
    """Return what a store holds.

    Returns
    -------
    dict or None
        Recordings by state, detections, times of the last ones (ISO 8601, UTC), losses
        by kind, and the sound kept in the last day (bytes, 16 bit); None when there is
        no store yet.

    Raises
    ------
    sqlite3.Error
        When the file is not a store of ours, or is damaged.
    """
    with reading(path) as connection:
        if connection is None:
            return None
        one = _Reader(connection)
        # The store counts as it writes; counting a million rows here takes seconds.
        totals = dict(connection.execute("SELECT name, count FROM total"))
        losses = dict(
            connection.execute("SELECT kind, sum(count) FROM loss GROUP BY kind")
        )
        return {
            "recordings": sum(totals[state] for state in _STATES),
            "undecided": totals["undecided"],
            "kept": totals["kept"],
            "deleted": totals["deleted"],
            "set_aside": totals["set_aside"],
            "detections": totals["detections"],
            "last_recording_on": one.value("SELECT max(created_on) FROM recording"),
            "last_detection_on": one.value(_LAST_DETECTION),
            "kept_bytes_per_day": int(one.value(_KEPT_BYTES)),
            "losses": losses,
        }


def read_messages(path: Path) -> dict[str, dict[str, int]] | None:
    """Return how many messages wait, were sent, and so on, by destination.

    Returns
    -------
    dict or None
        None when there is no outbox yet.

    Raises
    ------
    sqlite3.Error
        When the file is not a store of ours, or is damaged.
    """
    query = (
        "SELECT destination, state, count(*) FROM delivery GROUP BY 1, 2 "
        "UNION ALL SELECT destination, state, count FROM delivery_total"
    )
    with reading(path) as connection:
        if connection is None:
            return None
        found: dict[str, dict[str, int]] = {}
        for destination, state, count in connection.execute(query):
            states = found.setdefault(
                destination, {"waiting": 0, "sent": 0, "parked": 0, "expired": 0}
            )
            states[state] = states.get(state, 0) + count
        return found


class _Reader:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def value(self, query: str) -> Any:
        row = self._connection.execute(query).fetchone()
        return None if row is None else row[0]


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open a database for reading, without leaving anything beside it.

    Yields None when there is none yet.
    """
    if not path.is_file() or path.stat().st_size == 0:
        yield None
        return
    # Without a journal nobody writes, and none must be made: it would belong to
    # whoever asks, and shut the sensor out of its own database.
    if not path.with_name(f"{path.name}-wal").exists():
        mode = "mode=ro&immutable=1"
    elif path.with_name(f"{path.name}-shm").exists():
        # What a killed process left of the journal's index is not rebuilt in place.
        mode = "mode=ro&readonly_shm=1"
    else:
        mode = "mode=ro"
    uri = f"{path.absolute().as_uri()}?{mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=_WAIT)) as connection:
        yield connection
