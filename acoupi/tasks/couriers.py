"""One courier per destination: waits for the network so that nobody else has to.

Only the network is awaited in a courier's thread. The outbox is read and written by
the task alone, so that a database sees one thread.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from acoupi import data
from acoupi.components.delivery import DestinationState, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from acoupi.components import types

__all__ = ["Courier", "Errand", "Purpose", "couriers_for"]

_QUICK = 2.0
"""Seconds within which a batch must be done for the next one to be larger."""

_LARGEST_BATCH = 64


class Purpose(Enum):
    """Why messages were handed to a courier."""

    DELIVER = 1
    """They are next."""
    PROBE = 2
    """To learn whether the destination takes another message than the first."""
    RECHECK = 3
    """The first once more, now that another one was taken."""


@dataclass
class Errand:
    """Messages on their way, and, when done, the answers.

    There are fewer answers than messages when an attempt failed: the messages after it
    were not tried.
    """

    courier: Courier
    purpose: Purpose
    messages: list[data.Message]
    responses: Sequence[data.Response] = ()


class Courier:
    """Carries messages to one destination, in a thread that lives while it carries.

    Parameters
    ----------
    messenger
        Delivers to the destination. ``send_messages(messages)``, which returns one
        response per message up to the first that is not SUCCESS, is used when it is
        there; `send_message` will do.
    name
        Names the destination in the outbox.
    done
        Where finished errands are put.
    policy
        How patient to be.
    """

    def __init__(
        self,
        messenger: types.Messenger,
        name: str,
        done: queue.SimpleQueue[Errand],
        policy: RetryPolicy,
    ) -> None:
        self.messenger = messenger
        self.name = name
        self.state = DestinationState(policy)
        self.tried: set[UUID] = set()
        """Messages not to be tried again in this run."""
        self.suspect: data.Message | None = None
        self.attempts = 0
        """Attempts made in this run."""
        self.stopped = False
        """Whether the destination is to be left alone for the rest of this run."""
        self.busy_since: float | None = None
        self.backlog_ends: int | None = None
        """While a run is too short for all that waits: the position of the last message
        of the backlog. What was stored since has a share of every run."""
        self.turns = 0
        """How often messages were handed over while there was a backlog."""
        self._done = done
        self._batch = 1
        self._send_many: Any = getattr(messenger, "send_messages", None)

    @property
    def busy(self) -> bool:
        """Whether an errand is under way, or finished and not looked at."""
        return self.busy_since is not None

    def begin_run(self) -> None:
        """Forget what concerned the former run only."""
        self.state.begin_run()
        self.tried.clear()
        self.attempts = 0
        self.stopped = False

    def batch_size(self) -> int:
        """Return how many messages to hand over next.

        One after a failure, so that the answer tells which message it is about.
        """
        if self._send_many is None or self.state.failures:
            return 1
        return self._batch

    def carry(self, purpose: Purpose, messages: list[data.Message]) -> None:
        """Start an errand; it is put into ``done`` when it has ended."""
        self.busy_since = time.monotonic()
        errand = Errand(self, purpose, messages)
        threading.Thread(
            target=self._run, args=(errand,), name=f"send-{self.name}", daemon=True
        ).start()

    def arrived(self, errand: Errand) -> None:
        """Take note that a finished errand was looked at; adapt the batch size."""
        began, self.busy_since = self.busy_since, None
        self.attempts += len(errand.responses)
        whole = len(errand.responses) == len(errand.messages)
        if began is None or not whole or time.monotonic() - began > _QUICK:
            self._batch = max(1, self._batch // 2)
        else:
            self._batch = min(_LARGEST_BATCH, self._batch * 2)

    def _run(self, errand: Errand) -> None:
        errand.responses = self._send(errand.messages)
        self._done.put(errand)

    def _send(self, messages: list[data.Message]) -> list[data.Response]:
        try:
            if self._send_many is not None and len(messages) > 1:
                answers = list(self._send_many(messages))
            else:
                answers = [self.messenger.send_message(messages[0])]
        except BaseException as error:  # noqa: BLE001 - the thread has nobody to tell
            reason = f"{type(error).__name__}: {error}"
            return [_failure(messages[0], reason)]
        checked = []
        for message, answer in zip(messages, answers, strict=False):
            if not isinstance(answer, data.Response):
                kind = type(answer).__name__
                checked.append(_failure(message, f"returned {kind}, not a Response"))
                break
            checked.append(answer)
            if answer.status is not data.ResponseStatus.SUCCESS:
                break
        return checked or [_failure(messages[0], "returned no response")]


def _failure(message: data.Message, reason: str) -> data.Response:
    return data.Response(
        status=data.ResponseStatus.ERROR, message=message, content=reason
    )


def couriers_for(
    messengers: Sequence[types.Messenger],
    done: queue.SimpleQueue[Errand],
    policy: RetryPolicy,
) -> list[Courier]:
    """Return a courier per messenger, each with a name of its own.

    A messenger without a ``name`` gets its class's; a repeated name gets a number.
    """
    couriers: list[Courier] = []
    for messenger in messengers:
        base = getattr(messenger, "name", None) or type(messenger).__name__.lower()
        name, number = base, 1
        while any(courier.name == name for courier in couriers):
            number += 1
            name = f"{base}-{number}"
        couriers.append(Courier(messenger, name, done, policy))
    return couriers
