"""Which models have begun with which recordings, were refused or given up."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from acoupi import data
from acoupi.components.stores.rows import (
    Selection,
    from_text,
    read_recordings,
    shorten,
    to_text,
    write_recording,
)
from acoupi.components.types import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoupi.components.stores.database import Database

__all__ = ["AnalysisLedger", "unfinished"]

AT_WORK = datetime.timedelta(minutes=10)
"""How long a model that was started is taken to be still at work."""


class AnalysisLedger(Store):
    """The part of `SqliteStore` that follows the models' work."""

    database: Database

    def pending(
        self, required_models: Sequence[str], limit: int = 100
    ) -> list[data.Recording]:
        """Return undecided recordings that some required model has yet to look at.

        Oldest first, at most ``limit``.
        """
        with self.database.reading() as connection:
            condition, values = unfinished(required_models)
            selection = Selection(f"state = 'undecided' AND {condition}", values)
            return list(read_recordings(connection, selection, limit).values())

    def backlog(self, required_models: Sequence[str]) -> int:
        """Return how many recordings wait for a required model."""
        condition, values = unfinished(required_models)
        with self.database.reading() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM recording "  # noqa: S608  conditions are ours
                f"WHERE state = 'undecided' AND {condition}",
                values,
            ).fetchone()
        return int(count)

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
                    shorten(reason),
                    to_text(data.utc_now()),
                    str(recording.id),
                ),
            ).fetchall()[0]
        return int(total)


def unfinished(models: Sequence[str]) -> tuple[str, tuple[object, ...]]:
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
