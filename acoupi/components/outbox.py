"""The outbox: messages wait in sqlite until each destination has acknowledged them."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from acoupi import data
from acoupi.components.outbox_bounds import OutboxBounds
from acoupi.components.stores.database import Database
from acoupi.components.stores.rows import to_text
from acoupi.components.types import MessageStore

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

__all__ = ["OutboxCounts", "SqliteMessageStore"]

ANYWHERE = ""
"""The destination of messages stored before any destination was named."""

UNCONFIGURED = "the destination is not configured any more"

CHECK_EVERY = 100
"""Messages stored between two looks at the bounds, which cost a count."""


@dataclass(frozen=True)
class OutboxCounts:
    """How many messages one destination has in each state, since the beginning."""

    waiting: int = 0
    sent: int = 0
    parked: int = 0
    """Refused for good by the destination; never tried again."""
    expired: int = 0
    """Dropped because too many were waiting, or because they were too old."""


class SqliteMessageStore(MessageStore):
    """Holds messages in a sqlite file, one row per message and destination.

    In the same file as a `SqliteStore`, both write in one transaction. Nothing is
    opened before the first use.

    Parameters
    ----------
    path
        The database file; created when missing.
    destinations
        Names of the destinations; see `set_destinations`.
    max_messages
        How many messages may wait for one destination. When more do, the oldest
        expire, and are counted.
    max_age
        Waiting messages older than this expire; None for never.
    keep_finished
        How many finished messages stay on record for each destination, so that one
        stored again is recognised.
    """

    def __init__(
        self,
        path: Path | str,
        destinations: Sequence[str] = (),
        max_messages: int = 100_000,
        max_age: datetime.timedelta | None = None,
        keep_finished: int = 10_000,
    ) -> None:
        self.path = Path(path)
        self.database = Database.at(path)
        self.destinations = tuple(destinations)
        self.bounds = OutboxBounds(max_messages, max_age, keep_finished)
        self._stored = 0
        self._settled: tuple[str, ...] | None = None

    def set_destinations(self, names: Sequence[str]) -> None:
        """Name the destinations that every message goes to from now on.

        Messages stored before any was named go to all of them. What waits for one
        that is no longer named is parked, and waits again once it is back.
        """
        self.destinations = tuple(names)
        self._settled = None

    def store_message(self, message: data.Message) -> bool:
        """Queue a message for every destination; False when its id is known already."""
        with self.database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO message (id, content, created_on) VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO NOTHING",
                (str(message.id), message.content, to_text(message.created_on)),
            )
            if cursor.rowcount < 1:
                return False
            number = cursor.lastrowid
            connection.executemany(
                "INSERT INTO delivery (message, destination) VALUES (?, ?)",
                [(number, name) for name in self.destinations or (ANYWHERE,)],
            )
            # also for the first one: many a process ends before it has stored so many
            if self._stored % CHECK_EVERY == 0:
                self.bounds.enforce(connection, data.utc_now())
            self._stored += 1
        return True

    def get_unsent_messages(self) -> list[data.Message]:
        """Return messages that some destination has not acknowledged, oldest first."""
        self._settle_destinations()
        with self.database.reading() as connection:
            return _messages(
                connection.execute(
                    "SELECT id, content, created_on FROM message WHERE number IN "
                    "(SELECT message FROM delivery WHERE state = 'waiting') "
                    "ORDER BY number"
                )
            )

    def store_response(self, response: data.Response) -> None:
        """Note how an attempt to deliver to every destination ended."""
        self._settle_destinations()
        with self.database.transaction() as connection:
            waiting = [
                name
                for (name,) in connection.execute(
                    "SELECT destination FROM delivery WHERE state = 'waiting' AND "
                    "message = (SELECT number FROM message WHERE id = ?)",
                    (str(response.message.id),),
                )
            ]
            for destination in waiting:
                if response.status is data.ResponseStatus.SUCCESS:
                    self.mark_sent(response.message, destination, response)
                else:
                    self.mark_failed(response.message, destination, response)

    def due(
        self,
        destination: str,
        limit: int = 100,
        newest_first: bool = False,
        now: datetime.datetime | None = None,
        after: int = 0,
    ) -> list[data.Message]:
        """Return messages that may be tried now for one destination.

        A message whose last attempt lies in the future is due as well: the clock was
        set back since.

        Parameters
        ----------
        destination
            One of the destinations.
        limit
            How many at most.
        newest_first
            Whether to begin with the messages stored last.
        now
            The current time when not given.
        after
            Only messages stored after this `position`.
        """
        moment = to_text(now or data.utc_now())
        order = "DESC" if newest_first else "ASC"
        self._settle_destinations()
        with self.database.reading() as connection:
            return _messages(
                connection.execute(
                    "SELECT id, content, created_on FROM delivery "  # noqa: S608  a constant
                    "INNER JOIN message ON message.number = delivery.message "
                    "WHERE destination = ? AND state = 'waiting' "
                    "AND delivery.message > ? AND "
                    "(retry_on IS NULL OR retry_on <= ? OR tried_on > ?) "
                    f"ORDER BY delivery.message {order} LIMIT ?",
                    (destination, after, moment, moment, limit),
                )
            )

    def position(self) -> int:
        """Return the place of the message stored last; later ones are after it."""
        with self.database.reading() as connection:
            (newest,) = connection.execute(
                "SELECT coalesce(max(number), 0) FROM message"
            ).fetchone()
        return int(newest)

    def attempts(self, message: data.Message, destination: str) -> int:
        """Return how often delivering the message to the destination has failed."""
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT attempts FROM delivery WHERE destination = ? AND "
                "message = (SELECT number FROM message WHERE id = ?)",
                (destination, str(message.id)),
            ).fetchone()
        return int(row[0]) if row else 0

    def mark_sent(
        self,
        message: data.Message,
        destination: str,
        response: data.Response | None = None,
    ) -> None:
        """Note that the destination has acknowledged the message."""
        self._mark(message, destination, "sent", response)

    def mark_failed(
        self,
        message: data.Message,
        destination: str,
        response: data.Response | None = None,
        retry_on: datetime.datetime | None = None,
    ) -> None:
        """Note that an attempt failed; the message waits until ``retry_on``."""
        self._mark(message, destination, "waiting", response, retry_on=retry_on)

    def park(
        self,
        message: data.Message,
        destination: str,
        reason: str,
        response: data.Response | None = None,
    ) -> None:
        """Give a message up for one destination, so that it does not block others."""
        self._mark(message, destination, "parked", response, reason=reason)

    def get_parked(
        self, destination: str, limit: int = 100
    ) -> list[tuple[data.Message, str]]:
        """Return the messages given up last for a destination, with the reasons."""
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT id, content, created_on, answer FROM delivery "
                "INNER JOIN message ON message.number = delivery.message "
                "WHERE destination = ? AND state = 'parked' "
                "ORDER BY delivery.message DESC LIMIT ?",
                (destination, limit),
            ).fetchall()
        return [(_messages([row[:3]])[0], row[3] or "") for row in rows]

    def counts(self) -> dict[str, OutboxCounts]:
        """Return for each destination how many messages are in which state."""
        found: dict[str, dict[str, int]] = {name: {} for name in self.destinations}
        self._settle_destinations()
        with self.database.reading() as connection:
            rows = connection.execute(
                "SELECT destination, state, sum(count) FROM ("
                "SELECT destination, state, count(*) AS count FROM delivery "
                "GROUP BY destination, state "
                "UNION ALL SELECT destination, state, count FROM delivery_total) "
                "GROUP BY destination, state"
            ).fetchall()
        for destination, state, count in rows:
            found.setdefault(destination, {})[state] = count
        return {name: OutboxCounts(**states) for name, states in found.items()}

    def prune(self, now: datetime.datetime | None = None) -> None:
        """Expire what is too much or too old, forget what was finished long ago."""
        with self.database.transaction() as connection:
            self.bounds.enforce(connection, now or data.utc_now())

    def _mark(
        self,
        message: data.Message,
        destination: str,
        state: str,
        response: data.Response | None,
        retry_on: datetime.datetime | None = None,
        reason: str | None = None,
    ) -> None:
        answer = reason or (response.content if response else None)
        with self.database.transaction() as connection:
            # only a waiting one changes: what was acknowledged stays so
            connection.execute(
                "UPDATE delivery SET state = ?, attempts = attempts + ?, "
                "tried_on = ?, retry_on = ?, status = ?, answer = ? "
                "WHERE state = 'waiting' AND destination = ? AND "
                "message = (SELECT number FROM message WHERE id = ?)",
                (
                    state,
                    int(state != "sent"),
                    to_text(response.received_on if response else data.utc_now()),
                    to_text(retry_on) if retry_on else None,
                    response.status.name if response else None,
                    answer[:500] if answer else None,
                    destination,
                    str(message.id),
                ),
            )

    def _settle_destinations(self) -> None:
        """See to it that every waiting message waits for a destination there is."""
        if not self.destinations:
            return
        with self.database.reading() as connection:
            (homeless,) = connection.execute(
                "SELECT EXISTS (SELECT 1 FROM delivery WHERE state = 'waiting' "
                "AND destination = ?)",
                (ANYWHERE,),
            ).fetchone()
        if self._settled == self.destinations and not homeless:
            return
        with self.database.transaction() as connection:
            self._distribute(connection)
        self._settled = self.destinations

    def _distribute(self, connection: sqlite3.Connection) -> None:
        for name in self.destinations:
            connection.execute(
                "INSERT INTO delivery (message, destination) "
                "SELECT message, ? FROM delivery "
                "WHERE destination = ? AND state = 'waiting' "
                "ON CONFLICT DO NOTHING",
                (name, ANYWHERE),
            )
            connection.execute(
                "UPDATE delivery SET state = 'waiting', answer = NULL "
                "WHERE destination = ? AND state = 'parked' AND answer = ?",
                (name, UNCONFIGURED),
            )
        connection.execute(
            "DELETE FROM delivery WHERE destination = ? AND state = 'waiting'",
            (ANYWHERE,),
        )
        marks = ", ".join("?" * len(self.destinations))
        connection.execute(
            "UPDATE delivery SET state = 'parked', answer = ? "  # noqa: S608  question marks
            f"WHERE state = 'waiting' AND destination NOT IN ({marks})",
            (UNCONFIGURED, *self.destinations),
        )


def _messages(rows: Iterable[tuple[str, str | bytes, str]]) -> list[data.Message]:
    return [
        data.Message(
            id=UUID(key),
            content=content,
            created_on=datetime.datetime.fromisoformat(created_on),
        )
        for key, content, created_on in rows
    ]
