"""What the store remembers of each recording beside results: what became of it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoupi import data
from acoupi.components.stores.analyses import AnalysisLedger, unfinished
from acoupi.components.stores.losses import LossLedger
from acoupi.components.stores.rows import (
    Selection,
    read_outputs,
    read_recordings,
    shorten,
    to_text,
    without_collection,
    write_recording,
)
from acoupi.components.types import RecordingState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from acoupi.components.stores.database import Database

__all__ = ["RecordingLedger", "StoreCounts"]


@dataclass(frozen=True)
class StoreCounts:
    """How much is in the store."""

    recordings: int
    undecided: int
    kept: int
    deleted: int
    set_aside: int
    missing: int
    model_outputs: int
    detections: int
    last_recording_on: datetime.datetime | None
    last_detection_on: datetime.datetime | None
    """Start of the newest recording in which something was detected."""


class RecordingLedger(AnalysisLedger, LossLedger):
    """The part of `SqliteStore` that follows each recording to its end."""

    database: Database

    def get_undecided(
        self, limit: int = 1000
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        """Return recordings that are neither kept, deleted nor set aside yet.

        Oldest first, at most ``limit``.
        """
        return self._read(Selection("state = 'undecided'"), limit)

    def get_decidable(
        self, required_models: Sequence[str], limit: int = 1000
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        """Return undecided recordings that no required model has yet to look at.

        Oldest first, at most ``limit``.
        """
        condition, values = unfinished(required_models)
        selection = Selection(f"state = 'undecided' AND NOT {condition}", values)
        return self._read(selection, limit)

    def settle_recording(
        self,
        recording: data.Recording,
        path: Path | None,
        outcome: RecordingState,
        reason: str | None = None,
    ) -> data.Recording:
        """Store what became of a recording, where its file is now, and why."""
        text = str(path) if path is not None else None
        now = to_text(data.utc_now())
        with self.database.transaction() as connection:
            write_recording(connection, recording)
            connection.execute(
                "UPDATE recording SET path = ?, state = ?, reason = ?, decided_on = ? "
                "WHERE id = ?",
                (text, outcome, shorten(reason), now, str(recording.id)),
            )
        return recording.model_copy(update={"path": path})

    def get_state(self, recording: data.Recording) -> RecordingState | None:
        """Return what became of a recording; None when it was never stored."""
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT state FROM recording WHERE id = ?", (str(recording.id),)
            ).fetchone()
        return row[0] if row else None

    def get_reason(self, recording: data.Recording) -> str | None:
        """Return why the recording was kept, deleted or set aside, if known."""
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT reason FROM recording WHERE id = ?", (str(recording.id),)
            ).fetchone()
        return row[0] if row else None

    def find_by_origin(self, path: Path) -> data.Recording | None:
        """Return the newest recording whose file was first at ``path``."""
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT id FROM recording WHERE origin = ? ORDER BY number DESC",
                (str(path),),
            ).fetchone()
            if row is None:
                return None
            selection = Selection("id = ?", row)
            return next(iter(read_recordings(connection, selection).values()))

    def counts(self) -> StoreCounts:
        """Return how much is in the store."""
        with self.database.reading() as connection:
            totals: dict[str, int] = dict(
                connection.execute("SELECT name, count FROM total").fetchall()
            )
            last_recording, last_detection = connection.execute(
                "SELECT (SELECT max(created_on) FROM recording), "
                "(SELECT created_on FROM recording WHERE number = (SELECT recording "
                "FROM model_output WHERE number = (SELECT max(output) FROM detection)))"
            ).fetchone()
        states = ("undecided", "kept", "deleted", "set_aside", "missing")
        return StoreCounts(
            recordings=sum(totals[state] for state in states),
            last_recording_on=_optional(last_recording),
            last_detection_on=_optional(last_detection),
            **totals,
        )

    def _read(
        self, selection: Selection, limit: int = -1
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        with self.database.reading() as connection, without_collection():
            recordings = read_recordings(connection, selection, limit)
            outputs = read_outputs(connection, recordings)
        return [
            (recording, outputs.get(number, []))
            for number, recording in recordings.items()
        ]


def _optional(text: str | None) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(text) if text else None
