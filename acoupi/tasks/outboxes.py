"""What sending needs of a message store, and how a plain one provides it."""

from __future__ import annotations

import datetime
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, cast

from acoupi import data

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from acoupi.components import types

__all__ = ["Outbox", "PlainOutbox", "as_outbox", "transaction_of"]


class Outbox(Protocol):
    """A message store that keeps account of every destination by itself."""

    def due(
        self,
        destination: str,
        limit: int,
        *,
        newest_first: bool = False,
        after: int = 0,
    ) -> Sequence[data.Message]:
        """Return the messages to be tried next, in order.

        ``after`` is only given to a store that has a `position`.
        """

    def mark_sent(
        self, message: data.Message, destination: str, response: data.Response
    ) -> None:
        """Note that a destination acknowledged a message."""

    def mark_failed(
        self,
        message: data.Message,
        destination: str,
        response: data.Response,
        retry_on: datetime.datetime | None,
    ) -> None:
        """Note a failed attempt; before ``retry_on`` the message is not due."""

    def park(self, message: data.Message, destination: str, reason: str) -> None:
        """Set a message aside for good."""


class PlainOutbox:
    """Account of destinations, in memory, for a store that knows only "unsent".

    A message is reported sent to the store when each destination has acknowledged it.
    After a restart those that some destination had are sent to it again.
    """

    def __init__(self, store: types.MessageStore, destinations: Sequence[str]) -> None:
        self._store = store
        self._settled: dict[str, set[UUID]] = {name: set() for name in destinations}
        self._parked: set[UUID] = set()
        self._not_before: dict[tuple[UUID, str], datetime.datetime] = {}
        self._unsent: list[data.Message] = []

    def begin_run(self) -> None:
        """Ask the store what there is."""
        self._unsent = self._store.get_unsent_messages()
        known = {message.id for message in self._unsent}
        for settled in self._settled.values():
            settled.intersection_update(known)
        self._parked &= known

    def due(
        self,
        destination: str,
        limit: int,
        *,
        newest_first: bool = False,
        after: int = 0,  # noqa: ARG002 - the store numbers nothing
    ) -> Sequence[data.Message]:
        """Return the messages to be tried next, in order."""
        settled = self._settled[destination]
        now = data.utc_now()
        found = []
        for message in reversed(self._unsent) if newest_first else self._unsent:
            not_before = self._not_before.get((message.id, destination), now)
            if message.id not in settled and not_before <= now:
                found.append(message)
                if len(found) == limit:
                    break
        return found

    def mark_sent(
        self, message: data.Message, destination: str, response: data.Response
    ) -> None:
        """Note that a destination acknowledged a message."""
        self._settle(message, destination)
        if message.id not in self._parked and all(
            message.id in settled for settled in self._settled.values()
        ):
            self._store.store_response(response)

    def mark_failed(
        self,
        message: data.Message,
        destination: str,
        response: data.Response,
        retry_on: datetime.datetime | None,
    ) -> None:
        """Note a failed attempt; before ``retry_on`` the message is not due."""
        if retry_on is not None:
            self._not_before[message.id, destination] = retry_on
        self._store.store_response(response)

    def park(self, message: data.Message, destination: str, reason: str) -> None:  # noqa: ARG002 - the store has no place for the reason
        """Set a message aside until the process ends."""
        self._parked.add(message.id)
        self._settle(message, destination)

    def _settle(self, message: data.Message, destination: str) -> None:
        self._settled[destination].add(message.id)
        self._not_before.pop((message.id, destination), None)


def transaction_of(outbox: object) -> AbstractContextManager[object]:
    """Group what is noted inside into one commit, where the store knows commits."""
    for owner in (outbox, getattr(outbox, "database", None)):
        if hasattr(owner, "transaction"):
            transaction: AbstractContextManager[object] = owner.transaction()
            return transaction
    return nullcontext()


def as_outbox(store: types.MessageStore, destinations: Sequence[str]) -> Outbox:
    """Return the store itself when it knows destinations, else an account beside it."""
    if hasattr(store, "due") and hasattr(store, "mark_sent"):
        if hasattr(store, "set_destinations"):
            store.set_destinations(destinations)
        return cast("Outbox", store)
    return PlainOutbox(store, destinations)
