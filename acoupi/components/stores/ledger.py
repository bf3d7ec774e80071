"""What the store remembers beside results: work under way, outcomes, losses."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from acoupi import data
from acoupi.components.stores.rows import (
    Selection,
    from_text,
    read_outputs,
    read_recordings,
    to_text,
    without_collection,
    write_recording,
)
from acoupi.components.types import RecordingState, Store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from acoupi.components.stores.database import Database

__all__ = ["Loss", "RecordingLedger", "StoreCounts"]

MAX_REASON = 300
"""Characters kept of a reason."""

AT_WORK = datetime.timedelta(minutes=10)
"""How long a model that was started is taken to be still at work."""


@dataclass(frozen=True)
class Loss:
    """Things of one kind lost for one reason on one day."""

    day: datetime.date
    kind: str
    reason: str
    count: int
    last_on: datetime.datetime


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


class RecordingLedger(Store):
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
        condition, values = _unfinished(required_models)
        selection = Selection(f"state = 'undecided' AND NOT {condition}", values)
        return self._read(selection, limit)

    def pending(
        self, required_models: Sequence[str], limit: int = 100
    ) -> list[data.Recording]:
        """Return undecided recordings that some required model has yet to look at.

        Oldest first, at most ``limit``.
        """
        with self.database.reading() as connection:
            condition, values = _unfinished(required_models)
            selection = Selection(f"state = 'undecided' AND {condition}", values)
            return list(read_recordings(connection, selection, limit).values())

    def backlog(self, required_models: Sequence[str]) -> int:
        """Return how many recordings wait for a required model."""
        condition, values = _unfinished(required_models)
        with self.database.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM recording "  # noqa: S608  conditions are ours
                f"WHERE state = 'undecided' AND {condition}",
                values,
            ).fetchone()
        return int(count)

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
                (text, outcome, _short(reason), now, str(recording.id)),
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

    def note_attempt(self, recording: data.Recording, model_name: str) -> int:
        """Note that a model starts on a recording; return how often it has started."""
        return self._note(recording, model_name, "started", None, attempts=1)

    def withdraw_attempt(self, recording: data.Recording, model_name: str) -> None:
        """Do not count the last attempt: something else than the model failed."""
        self._note(recording, model_name, "started", None, attempts=-1)

    def is_under_way(self, recording: data.Recording, model_name: str) -> bool:
        """Tell whether a model may be working on the recording at this moment.

        It was started a short while ago; one that ended its process stops counting.
        """
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT updated_on FROM processing WHERE state = 'started' "
                "AND name_model = ? "
                "AND recording = (SELECT number FROM recording WHERE id = ?)",
                (model_name, str(recording.id)),
            ).fetchone()
        return row is not None and abs(data.utc_now() - from_text(row[0])) < AT_WORK

    def note_refusal(
        self, recording: data.Recording, model_name: str, reason: str
    ) -> None:
        """Note that a filter decided against running a model on the recording."""
        self._note(recording, model_name, "refused", reason)

    def note_failure(
        self, recording: data.Recording, model_name: str, reason: str
    ) -> None:
        """Note that a model will not be tried on the recording any more."""
        self._note(recording, model_name, "given_up", reason)

    def get_failures(self, recording: data.Recording) -> dict[str, str]:
        """Return the models that were given up on the recording, with the reasons."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT name_model, reason FROM processing "
                "WHERE state = 'given_up' "
                "AND recording = (SELECT number FROM recording WHERE id = ?)",
                (str(recording.id),),
            ).fetchall()
        return dict(rows)

    def get_unfinished_models(
        self, recording: data.Recording, model_names: Sequence[str]
    ) -> list[str]:
        """Return those models that still have to look at the recording."""
        with self.database.reading() as connection:
            done = {
                name
                for (name,) in connection.execute(
                    "SELECT name_model FROM model_output WHERE recording = "
                    "(SELECT number FROM recording WHERE id = :id) "
                    "UNION SELECT name_model FROM processing "
                    "WHERE state IN ('refused', 'given_up') AND recording = "
                    "(SELECT number FROM recording WHERE id = :id)",
                    {"id": str(recording.id)},
                )
            }
        return [name for name in model_names if name not in done]

    def add_loss(self, kind: str, count: int, reason: str) -> None:
        """Count something lost or dropped; the same reason gives one sum per day.

        Parameters
        ----------
        kind
            What was lost, in the plural: ``samples``, ``recordings``, ``analyses`` or
            ``messages``.
        count
            How many.
        reason
            Why, without names or numbers that differ each time.
        """
        now = data.utc_now()
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO loss (day, kind, reason, count, last_on) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (day, kind, reason) DO UPDATE "
                "SET count = count + excluded.count, last_on = excluded.last_on",
                (f"{now:%Y-%m-%d}", kind, _short(reason), count, to_text(now)),
            )

    def get_losses(
        self, after: datetime.datetime | None = None, limit: int = 1000
    ) -> list[Loss]:
        """Return what was lost, newest first, at or after ``after``."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT day, kind, reason, count, last_on FROM loss "
                "WHERE last_on >= ? ORDER BY last_on DESC LIMIT ?",
                (to_text(after) if after else "", limit),
            ).fetchall()
        return [
            Loss(
                datetime.date.fromisoformat(day),
                kind,
                reason,
                count,
                datetime.datetime.fromisoformat(last_on),
            )
            for day, kind, reason, count, last_on in rows
        ]

    def total_losses(self, limit: int = 50) -> dict[str, int]:
        """Return how much was lost in all, by kind; the ``limit`` largest sums."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT kind, sum(count) FROM loss GROUP BY kind "
                "ORDER BY sum(count) DESC, kind LIMIT ?",
                (limit,),
            ).fetchall()
        return dict(rows)

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

    def _note(
        self,
        recording: data.Recording,
        model_name: str,
        state: str,
        reason: str | None,
        attempts: int = 0,
    ) -> int:
        with self.database.transaction() as connection:
            write_recording(connection, recording)
            (total,) = connection.execute(
                "INSERT INTO processing "
                "(recording, name_model, state, attempts, reason, updated_on) "
                "SELECT number, ?, ?, ?, ?, ? FROM recording WHERE id = ? "
                "ON CONFLICT (recording, name_model) DO UPDATE SET "
                # Who starts after all does not undo that it was given up.
                "state = iif(excluded.state = 'started', state, excluded.state), "
                "attempts = attempts + excluded.attempts, "
                "reason = coalesce(excluded.reason, reason), "
                "updated_on = excluded.updated_on "
                "RETURNING attempts",
                (
                    model_name,
                    state,
                    attempts,
                    _short(reason),
                    to_text(data.utc_now()),
                    str(recording.id),
                ),
            ).fetchall()[0]
        return int(total)

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

    def read_outputs_after(
        self, number: int | None, limit: int = 100
    ) -> tuple[int, list[data.ModelOutput]]:
        """Return outputs stored after a position, and the position behind them.

        For following the store: pass None to get the present position and nothing
        else, then the position returned last.
        """
        with self.database.reading() as connection:
            if number is None:
                (newest,) = connection.execute(
                    "SELECT coalesce(max(number), 0) FROM model_output"
                ).fetchone()
                return int(newest), []
            rows = connection.execute(
                "SELECT number, id, recording FROM model_output WHERE number > ? "
                "ORDER BY number LIMIT ?",
                (number, limit),
            ).fetchall()
            recordings = read_recordings(
                connection, Selection.among("number", {row[2] for row in rows})
            )
            found = {
                output.id: output
                for outputs in read_outputs(connection, recordings).values()
                for output in outputs
            }
        ordered = [found[UUID(key)] for _, key, _ in rows]
        return (rows[-1][0] if rows else number), ordered


def _unfinished(models: Sequence[str]) -> tuple[str, tuple[object, ...]]:
    """Return the SQL condition for recordings that some model has yet to look at."""
    one = (
        "(NOT EXISTS (SELECT 1 FROM model_output AS done "
        "WHERE done.recording = recording.number AND done.name_model = ?) "
        "AND NOT EXISTS (SELECT 1 FROM processing AS done "
        "WHERE done.recording = recording.number AND done.name_model = ? "
        "AND done.state IN ('refused', 'given_up')))"
    )
    if not models:
        return "FALSE", ()
    values = tuple(name for model in models for name in (model, model))
    return f"({' OR '.join([one] * len(models))})", values


def _short(reason: str | None) -> str | None:
    return reason[:MAX_REASON] if reason is not None else None


def _optional(text: str | None) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(text) if text else None
