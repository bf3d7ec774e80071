"""When to try a destination again, and when to set a message aside.

Three things go wrong with a delivery, and each calls for another answer:

- the *destination* cannot be reached, or takes nothing at present: it is left alone for
  a while, the messages keep their order;
- one *message* is refused: it is tried again later, the others go on;
- one message fails again and again *while others are accepted*: it is parked, because
  then the fault is its own. Without that proof nothing is parked, however long a
  destination refuses everything.

The delay doubles with each failure in a row up to a limit, and is shortened by a random
part, so that a thousand sensors do not call a revived server at the same instant
("equal jitter": M. Brooker, Exponential backoff and jitter, AWS Architecture Blog,
2015). Delays of a destination are measured by the monotonic clock and not stored: a
clock that is set does not stop deliveries, and a restarted sensor tries at once.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

__all__ = ["DestinationState", "Refusal", "RetryPolicy"]

_MAX_REMEMBERED = 10_000


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a sensor is with its destinations.

    Parameters
    ----------
    first_delay
        Seconds without a try after the first failure of a destination.
    longest_delay
        Seconds the delay grows to at most.
    jitter
        Share of the delay that is random, [0, 1].
    patience
        Failures of a destination in a row, after which, each time, a later message is
        tried too, to find out whether the first one is to blame.
    max_refusals
        Refusals of a message, each while others were accepted, until it is parked.
    max_refused_in_a_row
        Refused messages in a row after which the destination is left alone.
    """

    first_delay: float = 10.0
    longest_delay: float = 900.0
    jitter: float = 0.5
    patience: int = 5
    max_refusals: int = 5
    max_refused_in_a_row: int = 10

    def delay(self, failures: int, draw: Callable[[], float] = random.random) -> float:
        """Return the seconds to wait after so many failures in a row (1 or more)."""
        doublings = min(max(failures, 1) - 1, 60)
        longest = min(self.longest_delay, self.first_delay * 2.0**doublings)
        return longest * (1 - self.jitter * draw())


@dataclass(frozen=True)
class Refusal:
    """What to do with a message that was refused."""

    park: bool
    """Whether it is to be set aside for good."""
    delay: float
    """Otherwise: seconds until it may be tried again."""


@dataclass
class _Refused:
    total: int = 0
    proven: int = 0
    unproven: bool = False


@dataclass
class DestinationState:
    """What is known of one destination: may it be tried, and whose fault is it.

    Times are seconds of any clock that only goes forward.
    """

    policy: RetryPolicy = field(default_factory=RetryPolicy)
    draw: Callable[[], float] = random.random
    failures: int = 0
    """Failures in a row."""
    blocked_until: float = float("-inf")
    accepted: int = 0
    """Messages accepted in this run."""
    refused_in_a_row: int = 0
    _refused: OrderedDict[UUID, _Refused] = field(default_factory=OrderedDict)

    def ready(self, now: float) -> bool:
        """Tell whether the destination may be tried."""
        return now >= self.blocked_until

    def begin_run(self) -> None:
        """Start counting anew what happens within one run."""
        self.accepted = 0
        self.refused_in_a_row = 0

    def message_accepted(self, message: UUID) -> None:
        """Take note of an acknowledged message."""
        self._refused.pop(message, None)
        self.failures = 0
        self.blocked_until = float("-inf")
        self.accepted += 1
        self.refused_in_a_row = 0
        for entry in self._refused.values():
            if entry.unproven:
                entry.proven += 1
                entry.unproven = False

    def message_refused(self, message: UUID, now: float) -> Refusal:
        """Take note of a message that the destination did not want."""
        entry = self._refused.setdefault(message, _Refused())
        self._refused.move_to_end(message)
        while len(self._refused) > _MAX_REMEMBERED:
            self._refused.popitem(last=False)
        entry.total += 1
        self.refused_in_a_row += 1
        if self.accepted:
            entry.proven += 1
        else:
            entry.unproven = True
        if entry.proven >= self.policy.max_refusals:
            del self._refused[message]
            return Refusal(park=True, delay=0)
        if self.refused_in_a_row >= self.policy.max_refused_in_a_row:
            self.destination_failed(now)
        return Refusal(park=False, delay=self.policy.delay(entry.total, self.draw))

    def destination_failed(self, now: float) -> None:
        """Take note of a failure that is not known to be a message's fault."""
        self.failures += 1
        self.blocked_until = now + self.policy.delay(self.failures, self.draw)

    def probe_behind(self, message: UUID) -> int | None:
        """Return which message behind this one, which failed, is to be tried too.

        None for none. The number, from 1, moves on from failure to failure, so that
        several bad messages in a row do not hide that the next would be accepted.
        """
        late = self.failures - self.policy.patience
        if message in self._refused:
            late = max(late, 0)
        return 1 + late % 10 if late >= 0 else None
