"""How much an outbox holds: what goes when there is more, and stays counted."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoupi.components.stores.rows import to_text

if TYPE_CHECKING:
    import sqlite3

__all__ = ["DISPLACED", "OUTDATED", "OutboxBounds"]

DISPLACED = "more messages were waiting than the outbox holds"
OUTDATED = "older than messages are kept"


@dataclass(frozen=True)
class OutboxBounds:
    """The bounds of an outbox, for each of its destinations."""

    max_messages: int
    """How many may wait."""
    max_age: datetime.timedelta | None
    """How old one that waits may be; None: any age."""
    keep_finished: int
    """How many finished ones stay on record."""

    def enforce(self, connection: sqlite3.Connection, now: datetime.datetime) -> None:
        """Expire what is too much or too old, forget what was finished long ago."""
        if self.max_age is not None:
            connection.execute(
                "UPDATE delivery SET state = 'expired', answer = ? "
                "WHERE state = 'waiting' AND message IN "
                "(SELECT number FROM message WHERE created_on < ?)",
                (OUTDATED, to_text(now - self.max_age)),
            )
        for (destination,) in connection.execute(
            "SELECT DISTINCT destination FROM delivery"
        ).fetchall():
            connection.execute(
                "UPDATE delivery SET state = 'expired', answer = ? "
                "WHERE state = 'waiting' AND destination = ? AND message <= ("
                "SELECT message FROM delivery WHERE destination = ? "
                "AND state = 'waiting' ORDER BY message DESC LIMIT 1 OFFSET ?)",
                (DISPLACED, destination, destination, self.max_messages),
            )
            self._forget_finished(connection, destination)
        connection.execute(
            "DELETE FROM message WHERE NOT EXISTS "
            "(SELECT 1 FROM delivery WHERE delivery.message = message.number)"
        )

    def _forget_finished(
        self, connection: sqlite3.Connection, destination: str
    ) -> None:
        """Turn all but the newest finished deliveries into a total."""
        row = connection.execute(
            "SELECT message FROM delivery WHERE destination = ? "
            "AND state != 'waiting' ORDER BY message DESC LIMIT 1 OFFSET ?",
            (destination, self.keep_finished),
        ).fetchone()
        if row is None:
            return
        old = "destination = ? AND state != 'waiting' AND message <= ?"
        connection.execute(
            "INSERT INTO delivery_total (destination, state, count) "  # noqa: S608  a constant
            f"SELECT destination, state, count(*) FROM delivery WHERE {old} "
            "GROUP BY destination, state "
            "ON CONFLICT (destination, state) "
            "DO UPDATE SET count = count + excluded.count",
            (destination, *row),
        )
        connection.execute(
            f"DELETE FROM delivery WHERE {old}",  # noqa: S608  a constant
            (destination, *row),
        )
