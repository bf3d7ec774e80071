"""The task that delivers what waits in the outbox."""

from __future__ import annotations

import datetime
import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Literal

from acoupi import data
from acoupi.components.delivery import RetryPolicy
from acoupi.tasks.couriers import Courier, Errand, Purpose, couriers_for
from acoupi.tasks.outboxes import Outbox, PlainOutbox, as_outbox, transaction_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acoupi.components import types

__all__ = ["generate_send_messages_task"]

_GRACE = 30.0
"""Seconds a run waits for what is under way after its time is over."""

_PROBE_DEPTH = 11

_NEWS_EVERY = 4
"""Of so many portions, one is of news while there is a backlog."""


def generate_send_messages_task(
    message_store: types.MessageStore,
    messengers: Sequence[types.Messenger],
    logger: logging.Logger | None = None,
    max_messages: int | None = None,
    message_order: Literal["oldest_first", "newest_first"] = "oldest_first",
    *,
    max_duration: float = 60.0,
    policy: RetryPolicy | None = None,
) -> Callable[[], None]:
    """Build the task that delivers waiting messages to each destination.

    Destinations do not wait for each other. To each one the messages go in order, and
    none is reported sent before the destination acknowledged it. One that fails is left
    alone for a while, longer from failure to failure; a message that is refused is
    tried again later, and parked when it is refused again and again while others are
    accepted (see `acoupi.components.delivery`).

    A backlog that one run is too short for goes in order, oldest first, and what is
    stored meanwhile goes in order beside it: news after an outage need not wait for
    days until all that was missed has arrived.

    Parameters
    ----------
    message_store
        Where the messages wait.
    messengers
        One per destination. Anything with ``send_message`` will do.
    logger
        Where to report failing and recovered destinations.
    max_messages
        Most messages tried per destination and run; None for no limit.
    message_order
        Which end of the queue goes first.
    max_duration
        Seconds after which a run begins nothing new. What is under way then is awaited
        30 s more, and looked at in the next run if it takes longer.
    policy
        How patient to be.

    Returns
    -------
    Callable[[], None]
        The task. A run that finds another one going on in this process does nothing.
    """
    done: queue.SimpleQueue[Errand] = queue.SimpleQueue()
    couriers = couriers_for(messengers, done, policy or RetryPolicy())
    sender = _Sender(
        as_outbox(message_store, [courier.name for courier in couriers]),
        couriers,
        done,
        logger or logging.getLogger(__name__),
        max_messages,
        newest_first=message_order == "newest_first",
    )
    running = threading.Lock()

    def send_messages_task() -> None:
        """Deliver what waits in the outbox."""
        if not running.acquire(blocking=False):
            return
        try:
            sender.run(max_duration)
        finally:
            running.release()

    return send_messages_task


class _Sender:
    def __init__(
        self,
        outbox: Outbox,
        couriers: list[Courier],
        done: queue.SimpleQueue[Errand],
        logger: logging.Logger,
        max_messages: int | None,
        *,
        newest_first: bool,
    ) -> None:
        self.outbox = outbox
        self.couriers = couriers
        self.done = done
        self.logger = logger
        self.max_messages = max_messages
        self.newest_first = newest_first
        self.ends = 0.0

    def run(self, max_duration: float) -> None:
        self.ends = time.monotonic() + max_duration
        if isinstance(self.outbox, PlainOutbox):
            self.outbox.begin_run()
        for courier in self.couriers:
            courier.begin_run()
        # First what came back after the former run was over.
        while self._take(wait=0):
            pass
        for courier in self.couriers:
            if courier.busy_since is not None:
                self.logger.warning(
                    "%s: still busy with a message since %.0f s; the other "
                    "destinations go on",
                    courier.name,
                    time.monotonic() - courier.busy_since,
                )
            else:
                self._hand_over(courier)
        while any(courier.busy for courier in self.couriers):
            wait = self.ends + _GRACE - time.monotonic()
            if not self._take(wait):
                break

    def _take(self, wait: float) -> bool:
        """Look at one finished errand and hand over the next; False without one."""
        try:
            errand = self.done.get(timeout=max(0.0, wait))
        except queue.Empty:
            return False
        courier = errand.courier
        courier.arrived(errand)
        with transaction_of(self.outbox):
            self._note(errand)
        if not courier.busy:
            self._hand_over(courier)
        return True

    def _hand_over(self, courier: Courier) -> None:
        now = time.monotonic()
        if courier.stopped or not courier.state.ready(now):
            return
        size = courier.batch_size()
        if self.max_messages is not None:
            size = min(size, self.max_messages - courier.attempts)
        if size <= 0 or now >= self.ends:
            self._note_backlog(courier)
            return
        messages = self._due_news(courier, size) or self._due(courier, size)
        if messages:
            courier.carry(Purpose.DELIVER, messages)
        else:
            courier.backlog_ends = None

    def _note_backlog(self, courier: Courier) -> None:
        """Take note, once, that a run was too short for all that waits."""
        position = getattr(self.outbox, "position", None)
        if position is None or self.newest_first or courier.backlog_ends is not None:
            return
        if self._due(courier, 1):
            courier.backlog_ends = position()

    def _due_news(self, courier: Courier, size: int) -> list[data.Message]:
        """Return what was stored since the backlog began, when it is its turn."""
        if courier.backlog_ends is None:
            return []
        turn, courier.turns = courier.turns, courier.turns + 1
        if turn % _NEWS_EVERY:
            return []
        return self._due(courier, size, after=courier.backlog_ends)

    def _due(
        self, courier: Courier, size: int, after: int | None = None
    ) -> list[data.Message]:
        only = {} if after is None else {"after": after}
        messages = self.outbox.due(
            courier.name,
            size + len(courier.tried),
            newest_first=self.newest_first,
            **only,
        )
        return [m for m in messages if m.id not in courier.tried][:size]

    def _note(self, errand: Errand) -> None:
        courier = errand.courier
        for message, response in zip(errand.messages, errand.responses, strict=False):
            if response.status is data.ResponseStatus.SUCCESS:
                self._sent(courier, message, response)
                if errand.purpose is Purpose.PROBE and courier.suspect is not None:
                    courier.carry(Purpose.RECHECK, [courier.suspect])
            elif (
                response.status is data.ResponseStatus.FAILED
                or errand.purpose is Purpose.RECHECK
            ):
                self._refused(courier, message, response)
            else:
                self._failed(courier, message, response, errand.purpose)

    def _sent(
        self, courier: Courier, message: data.Message, response: data.Response
    ) -> None:
        self.outbox.mark_sent(message, courier.name, response)
        if courier.state.failures:
            self.logger.info(
                "%s: takes messages again after %d failures",
                courier.name,
                courier.state.failures,
            )
        courier.state.message_accepted(message.id)
        courier.stopped = False

    def _refused(
        self, courier: Courier, message: data.Message, response: data.Response
    ) -> None:
        courier.tried.add(message.id)
        refusal = courier.state.message_refused(message.id, time.monotonic())
        reason = f"{response.status.name}: {response.content or 'no reason given'}"
        retry_on = data.utc_now() + datetime.timedelta(seconds=refusal.delay)
        if refusal.park:
            self.outbox.park(message, courier.name, reason)
            self.logger.error(
                "%s: message %s is set aside, as it is refused while others are "
                "accepted: %s",
                courier.name,
                message.id,
                reason,
            )
        else:
            self.outbox.mark_failed(message, courier.name, response, retry_on)
            self.logger.warning(
                "%s: message %s was refused: %s", courier.name, message.id, reason
            )

    def _failed(
        self,
        courier: Courier,
        message: data.Message,
        response: data.Response,
        purpose: Purpose,
    ) -> None:
        self.outbox.mark_failed(message, courier.name, response, None)
        if purpose is Purpose.PROBE:
            return
        courier.stopped = True
        state = courier.state
        state.destination_failed(time.monotonic())
        # Not at every failure: a destination may be away for weeks.
        if state.failures & (state.failures - 1) == 0:
            self.logger.warning(
                "%s: no delivery (%d in a row): %s: %s",
                courier.name,
                state.failures,
                response.status.name,
                response.content or "no reason given",
            )
        courier.suspect = None
        depth = state.probe_behind(message.id)
        if depth is None or time.monotonic() >= self.ends:
            return
        others = [m for m in self._due(courier, _PROBE_DEPTH) if m.id != message.id]
        if others:
            courier.suspect = message
            courier.carry(Purpose.PROBE, [others[(depth - 1) % len(others)]])
