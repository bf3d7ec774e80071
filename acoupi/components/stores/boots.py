"""When each boot began, and the recordings whose times are still to be corrected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoupi.components.stores.rows import (
    Selection,
    from_text,
    read_recordings,
    to_text,
)

if TYPE_CHECKING:
    import datetime
    from collections.abc import Iterable

    from acoupi import data
    from acoupi.components.stores.database import Database

__all__ = ["Boots"]

# As in the index that answers it: another wording would look at all recordings.
UNCORRECTED = (
    "json_extract(capture, '$.clock.synchronised') = 0 "
    "AND json_extract(capture, '$.clock.corrected') IS NULL"
)


@dataclass(frozen=True)
class Boots:
    """The boots of one database and the recordings each made by a wrong clock."""

    database: Database
    """The one that holds the recordings."""

    def get_beginning(self, boot_id: str) -> datetime.datetime | None:
        """Return when a boot's monotonic clock stood at zero, if that is known."""
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT began_on FROM boot WHERE id = ?", (boot_id,)
            ).fetchone()
        return from_text(row[0]) if row else None

    def note_beginning(self, boot_id: str, began_on: datetime.datetime) -> None:
        """Store when a boot's monotonic clock stood at zero; the last word counts."""
        with self.database.transaction() as connection:
            connection.execute(
                "INSERT INTO boot (id, began_on) VALUES (?, ?) "
                "ON CONFLICT (id) DO UPDATE SET began_on = excluded.began_on",
                (boot_id, to_text(began_on)),
            )

    def get_unfinished(self) -> dict[str, datetime.datetime]:
        """Return the boots with recordings to correct, and when each began.

        Only boots whose beginning is known.
        """
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT id, began_on FROM boot WHERE EXISTS "  # noqa: S608  a constant
                f"(SELECT 1 FROM recording WHERE boot_id = boot.id AND {UNCORRECTED})"
            ).fetchall()
        return {boot_id: from_text(began_on) for boot_id, began_on in rows}

    def get_uncorrected(
        self, boot_id: str, after: int = 0, limit: int = 100
    ) -> dict[int, data.Recording]:
        """Return recordings that a boot made while its clock was not known to be right.

        Parameters
        ----------
        boot_id
            The kernel's boot identifier, as in `acoupi.data.ClockState`.
        after
            The number behind which to begin.
        limit
            How many at most.

        Returns
        -------
        dict
            The recordings by their number, in the order of storing.
        """
        selection = Selection(
            f"boot_id = ? AND number > ? AND {UNCORRECTED}", (boot_id, after)
        )
        with self.database.reading() as connection:
            return read_recordings(connection, selection, limit)

    def store_corrected(self, recordings: Iterable[data.Recording]) -> None:
        """Store the times, and what is known of the clock, of these recordings."""
        rows = [
            (
                to_text(recording.created_on),
                recording.capture.model_dump_json(exclude_defaults=True),
                str(recording.id),
            )
            for recording in recordings
            if recording.capture is not None
        ]
        with self.database.transaction() as connection:
            connection.executemany(
                "UPDATE recording SET created_on = ?, capture = ? WHERE id = ?", rows
            )
