"""When conditions will let a sensor record."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Sequence

from acoupi.components.schedules.clock import as_instant
from acoupi.components.types import RecordingCondition
from acoupi.errors import ConfigurationError

__all__ = ["preview"]

_SECOND = datetime.timedelta(seconds=1)
_LONGEST = datetime.timedelta(days=3660)


def preview(
    conditions: Iterable[RecordingCondition],
    start: datetime.datetime,
    end: datetime.datetime,
    step: datetime.timedelta = datetime.timedelta(minutes=1),
) -> list[tuple[datetime.datetime, datetime.datetime]]:
    """Return the windows [from, to) within [start, end) in which all conditions hold.

    Exact for conditions that know when their answer can change (a method
    ``changes(start, end)`` that returns those instants, as all time conditions of
    `acoupi.components.conditions` have). Any other condition is asked every ``step``,
    and the edges found that way are refined to the second. Conditions that declare
    ``follows_clock = False`` (disk space, say) do not depend on the time asked
    about and are left out.

    Parameters
    ----------
    conditions : iterable of RecordingCondition
        ANDed; none means always.
    start, end : datetime.datetime
        At most ten years apart; naive is UTC.
    step : datetime.timedelta
        At least a second.

    Raises
    ------
    ConfigurationError
        When end is not after start, more than ten years after it, or the step is
        shorter than a second.
    """
    start, end = as_instant(start), as_instant(end)
    if not start < end <= start + _LONGEST:
        raise ConfigurationError(
            f"the preview's end ({end.isoformat()}) must be after its start "
            f"({start.isoformat()}), by ten years at most"
        )
    if step < _SECOND:
        raise ConfigurationError(f"step is {step}: must be at least one second")
    asked = [c for c in conditions if getattr(c, "follows_clock", True)]
    edges = {start}
    for condition in asked:
        changes: (
            Callable[
                [datetime.datetime, datetime.datetime], Iterable[datetime.datetime]
            ]
            | None
        ) = getattr(condition, "changes", None)
        if changes is None:
            edges.update(_sampled_changes(condition, start, end, step))
        else:
            edges.update(changes(start, end))
    inside = sorted(edge for edge in edges if start <= edge < end)
    return list(_merge(asked, [*inside, end]))


def _merge(
    conditions: Sequence[RecordingCondition], edges: Sequence[datetime.datetime]
) -> Iterator[tuple[datetime.datetime, datetime.datetime]]:
    """Join the stretches between edges in which every condition holds."""
    opened: datetime.datetime | None = None
    for edge in edges[:-1]:
        holds = all(condition.should_record(edge) for condition in conditions)
        if holds and opened is None:
            opened = edge
        elif not holds and opened is not None:
            yield opened, edge
            opened = None
    if opened is not None:
        yield opened, edges[-1]


def _sampled_changes(
    condition: RecordingCondition,
    start: datetime.datetime,
    end: datetime.datetime,
    step: datetime.timedelta,
) -> Iterator[datetime.datetime]:
    """Yield where the answers of a condition differ from one step to the next."""
    instant, answer = start, condition.should_record(start)
    while instant < end:
        following = min(instant + step, end)
        if condition.should_record(following) != answer:
            before, after = instant, following
            while after - before > _SECOND:
                middle = before + (after - before) / 2
                if condition.should_record(middle) == answer:
                    before = middle
                else:
                    after = middle
            # Rather the whole second that was meant than a split second after it.
            change = after.replace(microsecond=0)
            if change <= instant or condition.should_record(change) == answer:
                change = after
            yield change
            answer = not answer
        instant = following
