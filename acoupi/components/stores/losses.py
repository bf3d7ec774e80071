"""What was lost or dropped, counted by day, kind and reason."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoupi import data
from acoupi.components.stores.rows import shorten, to_text
from acoupi.components.types import Store

if TYPE_CHECKING:
    from acoupi.components.stores.database import Database

__all__ = ["Loss", "LossLedger"]


@dataclass(frozen=True)
class Loss:
    """Things of one kind lost for one reason on one day."""

    day: datetime.date
    kind: str
    reason: str
    count: int
    last_on: datetime.datetime


class LossLedger(Store):
    """The part of `SqliteStore` that counts what was lost."""

    database: Database

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
                (f"{now:%Y-%m-%d}", kind, shorten(reason), count, to_text(now)),
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
