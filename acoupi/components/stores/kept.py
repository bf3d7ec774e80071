"""Questions about the recordings that were kept, for deleting some of them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from acoupi.components.stores.rows import Selection, read_recordings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acoupi import data
    from acoupi.components.stores.database import Database

__all__ = ["KeptRecordings"]

PAGE = 200


@dataclass(frozen=True)
class KeptRecordings:
    """The kept recordings of one database."""

    database: Database
    """The one that holds the recordings."""

    def oldest_first(self) -> Iterator[data.Recording]:
        """Yield kept recordings by the time at which they began, a page at a time.

        Others may be written and these be deleted meanwhile.
        """
        after = ("", -1)
        while True:
            with self.database.reading() as connection:
                page = connection.execute(
                    "SELECT created_on, number FROM recording WHERE state = 'kept' "
                    "AND (created_on, number) > (?, ?) "
                    "ORDER BY created_on, number LIMIT ?",
                    (*after, PAGE),
                ).fetchall()
                recordings = read_recordings(
                    connection,
                    Selection.among("number", [number for _, number in page]),
                )
            if not page:
                return
            after = page[-1]
            for _, number in page:
                yield recordings[number]

    def best_of_each_tag(self, count: int) -> set[UUID]:
        """Return the ids of those with the best scores of each tag, ``count`` a tag.

        Among equal scores the older recording counts as the better one.
        """
        if count <= 0:
            return set()
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT id FROM (SELECT recording.id AS id, row_number() OVER "
                "(PARTITION BY predicted_tag.tag "
                "ORDER BY max(confidence_score) DESC, recording.number) AS place "
                "FROM recording "
                "INNER JOIN model_output ON model_output.recording = recording.number "
                "INNER JOIN predicted_tag "
                "ON predicted_tag.output = model_output.number "
                "WHERE recording.state = 'kept' "
                "GROUP BY predicted_tag.tag, recording.number) WHERE place <= ?",
                (count,),
            ).fetchall()
        return {UUID(key) for (key,) in rows}
