"""Which model outputs each summary has counted, so that none is counted twice.

Outputs are numbered in the order in which they were stored. A summary counts those
above the number that it remembers: whatever the clock does, however late a recording
is analysed and wherever the process was killed, each output is counted exactly once.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoupi import data
from acoupi.components.stores.rows import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoupi.components.stores.database import Database

__all__ = ["Progress", "SummaryProgress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a summary has come."""

    covered_until: datetime.datetime
    """When the last summary was made."""
    output: int
    """Number of the last output that it counted."""


class SummaryProgress:
    """The progress of the summaries of one database.

    Parameters
    ----------
    database : Database
        The one that holds the model outputs.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def get(self, name: str) -> Progress | None:
        """Return how far a summary has come; None when it was never made."""
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT covered_until, output FROM summary WHERE name = ?", (name,)
            ).fetchone()
        return None if row is None else Progress(from_text(row[0]), row[1])

    def set(self, name: str, progress: Progress) -> None:
        """Remember how far a summary has come."""
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO summary (name, covered_until, output) "
                "VALUES (?, ?, ?)",
                (name, to_text(progress.covered_until), progress.output),
            )

    def newest_output(self) -> int:
        """Return the number of the output stored last, 0 when there is none."""
        with self.database.reading() as connection:
            (number,) = connection.execute(
                "SELECT max(number) FROM model_output"
            ).fetchone()
        return number or 0

    def get_predicted_tags(
        self, after: int, until: int, model_names: Sequence[str] | None = None
    ) -> list[data.PredictedTag]:
        """Return the tags of the outputs numbered (after, until].

        In the order in which they were stored.
        """
        query = (
            "SELECT tag.key, tag.value, predicted_tag.confidence_score "
            "FROM model_output "
            "INNER JOIN predicted_tag ON predicted_tag.output = model_output.number "
            "INNER JOIN tag ON tag.number = predicted_tag.tag "
            "WHERE model_output.number > ? AND model_output.number <= ?"
        )
        parameters: list[object] = [after, until]
        if model_names is not None:
            marks = ", ".join("?" * len(model_names))
            query += f" AND model_output.name_model IN ({marks})"
            parameters.extend(model_names)
        query += " ORDER BY model_output.number"
        with self.database.reading() as connection:
            rows = connection.execute(query, parameters).fetchall()
        return [
            data.PredictedTag(data.Tag(key, value), score) for key, value, score in rows
        ]
