"""What was detected over an interval, in one small message instead of many.

The content of a message is JSON::

    {
      "summary": "statistics",
      "deployment": {"id": "...", "name": "..."},
      "start": "2026-06-01T05:00:00Z",
      "end": "2026-06-01T06:00:00Z",
      "tags": [{"key": "species", "value": "Myotis myotis", ...}]
    }

Times are UTC, tags in alphabetical order. A summary that found nothing gives no
message, unless ``send_empty`` asks for one with an empty list: that the sensor is
alive is told by its heartbeat.

Nothing is counted twice or missed. The first summary covers the recordings that began
in [now - interval, now); every other one covers what was found since the one before,
as numbered by the store (`acoupi.components.stores.progress`), so a recording that is
analysed late is in a later summary, and a summary that comes late covers more. With a
store that does not number outputs, the periods are [end of the one before, now) of the
time at which recordings began, from when the program was started.
"""

from __future__ import annotations

import datetime
import json
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID, uuid5

from acoupi import data
from acoupi.components.schedules import as_instant
from acoupi.components.types import Summariser
from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from acoupi.components.stores.progress import SummaryProgress
    from acoupi.components.types import Store

__all__ = ["StatisticsDetectionsSummariser", "ThresholdsDetectionsSummariser"]

_LONGEST = datetime.timedelta(days=31)
_NAMESPACE = UUID("0d3a6f0e-6a3a-4d0c-9a35-5f4fcb3c2c11")


@dataclass(frozen=True)
class _Period:
    """What one summary covers."""

    start: datetime.datetime
    end: datetime.datetime
    tags: list[data.PredictedTag]
    output: int = 0
    """Number of the last output among them, where the store numbers them."""


class _TagSummariser(Summariser):
    """Describes each of the tags found since the last summary."""

    kind: ClassVar[str]
    lowest_score: float = 0

    def __init__(
        self,
        store: Store,
        interval: float,
        *,
        model_names: Sequence[str] | None = None,
        send_empty: bool = False,
    ) -> None:
        if not 0 < interval <= _LONGEST.total_seconds():
            raise ConfigurationError(
                f"interval is {interval}: must be seconds, more than 0 and at most "
                f"{_LONGEST.total_seconds():.0f} (31 days)"
            )
        self.store = store
        self.interval = interval
        self.model_names = model_names
        self.send_empty = send_empty
        self._covered_until: datetime.datetime | None = None
        self._built: _Period | None = None

    def build_summary(self, now: datetime.datetime) -> data.Message | None:
        """Summarise the period that ends ``now``; None when there is nothing to say.

        Counts nothing as sent: until `summary_stored` is called, the next summary
        begins where this one did.
        """
        period = self._built = self._read_period(as_instant(now))
        if period is None:
            return None
        scores: dict[data.Tag, list[float]] = {}
        for predicted in period.tags:
            if predicted.confidence_score >= self.lowest_score:
                scores.setdefault(predicted.tag, []).append(predicted.confidence_score)
        if not scores and not self.send_empty:
            return None
        deployment = self.store.get_current_deployment()
        content = {
            "summary": self.kind,
            "deployment": {"id": str(deployment.id), "name": deployment.name},
            "start": _to_text(period.start),
            "end": _to_text(period.end),
            **self._settings(),
            "tags": [
                {"key": tag.key, "value": tag.value, **self._describe(scores[tag])}
                for tag in sorted(scores, key=lambda tag: (tag.key, tag.value))
            ],
        }
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        # The same summary has the same id, so that storing it again is no repeat.
        return data.Message(
            id=uuid5(_NAMESPACE, text), content=text, created_on=period.end
        )

    def summary_stored(self, now: datetime.datetime) -> None:
        """Begin the next summary where the one of ``now`` ended."""
        period = self._built
        if period is None or period.end != as_instant(now):
            return
        progress = self._progress()
        if progress is None:
            self._covered_until = period.end
        else:
            from acoupi.components.stores.progress import Progress

            progress.set(self._name(), Progress(period.end, period.output))

    def _read_period(self, now: datetime.datetime) -> _Period | None:
        """Read what is to be summarised; None when it is too soon."""
        interval = datetime.timedelta(seconds=self.interval)
        progress = self._progress()
        last = None if progress is None else progress.get(self._name())
        covered_until = self._covered_until if last is None else last.covered_until
        if covered_until is not None and abs(now - covered_until) < interval / 2:
            # A doubled tick: its time is left to the next one.
            return None
        newest = 0 if progress is None else progress.newest_output()
        if progress is not None and last is not None:
            start = min(last.covered_until, now - interval / 2)
            tags = progress.get_predicted_tags(last.output, newest, self.model_names)
            return _Period(start, now, tags, newest)
        start = now - interval
        if covered_until is not None and start - _LONGEST < covered_until < now:
            start = covered_until
        tags = self.store.get_predicted_tags(
            after=start, before=now, model_names=self.model_names
        )
        return _Period(start, now, tags, newest)

    def _progress(self) -> SummaryProgress | None:
        """Return where the store keeps the progress of summaries, if it can."""
        database = getattr(self.store, "database", None)
        if database is None:
            return None
        from acoupi.components.stores.database import Database
        from acoupi.components.stores.progress import SummaryProgress

        return SummaryProgress(database) if isinstance(database, Database) else None

    def _name(self) -> str:
        """Name the summary, so that differing ones have a progress of their own."""
        models = None if self.model_names is None else sorted(self.model_names)
        return json.dumps([self.kind, self.interval, models, self._settings()])

    def _settings(self) -> dict[str, object]:
        """Return what a receiver must know to read the numbers."""
        return {}

    @abstractmethod
    def _describe(self, scores: list[float]) -> dict[str, float | int]:
        """Return the numbers that describe the confidence scores of one tag."""


class StatisticsDetectionsSummariser(_TagSummariser):
    """Count, mean, least and greatest confidence score of every tag of a period.

    Each tag in the message has ``count`` and, rounded to four digits, ``mean``,
    ``min`` and ``max``.

    Parameters
    ----------
    store : Store
        Where the detections are.
    interval : float
        Seconds between two summaries, (0, 31 days].
    model_names : sequence of str, optional
        Count the tags of these models only.
    send_empty : bool
        Whether to send a summary of a period without detections.

    Raises
    ------
    ConfigurationError
        When the interval is out of range.
    """

    kind = "statistics"

    def _describe(self, scores: list[float]) -> dict[str, float | int]:
        return {
            "count": len(scores),
            "mean": round(sum(scores) / len(scores), 4),
            "min": round(min(scores), 4),
            "max": round(max(scores), 4),
        }


class ThresholdsDetectionsSummariser(_TagSummariser):
    """How often every tag was found with low, middling and high confidence.

    Each tag in the message has ``low`` (scores in [low, mid)), ``mid`` ([mid, high))
    and ``high`` ([high, 1]); the thresholds are in the message, too. Scores below the
    low threshold are not counted, and a tag that has only those is left out.

    Parameters
    ----------
    store : Store
        Where the detections are.
    interval : float
        Seconds between two summaries, (0, 31 days].
    low_band_threshold, mid_band_threshold, high_band_threshold : float
        Where the bands begin; 0 <= low <= mid <= high <= 1.
    model_names : sequence of str, optional
        Count the tags of these models only.
    send_empty : bool
        Whether to send a summary of a period without detections.

    Raises
    ------
    ConfigurationError
        When the interval is out of range or the thresholds are not in order.
    """

    kind = "thresholds"

    def __init__(
        self,
        store: Store,
        interval: float,
        low_band_threshold: float = 0.1,
        mid_band_threshold: float = 0.5,
        high_band_threshold: float = 0.9,
        *,
        model_names: Sequence[str] | None = None,
        send_empty: bool = False,
    ) -> None:
        super().__init__(
            store, interval, model_names=model_names, send_empty=send_empty
        )
        low, mid, high = low_band_threshold, mid_band_threshold, high_band_threshold
        if not 0 <= low <= mid <= high <= 1:
            raise ConfigurationError(
                f"low_band_threshold, mid_band_threshold and high_band_threshold are "
                f"{low}, {mid} and {high}: must be in this order and within [0, 1]"
            )
        self.low_band_threshold = self.lowest_score = low
        self.mid_band_threshold = mid
        self.high_band_threshold = high

    def _settings(self) -> dict[str, object]:
        return {
            "thresholds": {
                "low": self.low_band_threshold,
                "mid": self.mid_band_threshold,
                "high": self.high_band_threshold,
            }
        }

    def _describe(self, scores: list[float]) -> dict[str, float | int]:
        low, mid, high = (
            sum(score >= threshold for score in scores)
            for threshold in (
                self.low_band_threshold,
                self.mid_band_threshold,
                self.high_band_threshold,
            )
        )
        return {"low": low - mid, "mid": mid - high, "high": high}


def _to_text(instant: datetime.datetime) -> str:
    return instant.isoformat().replace("+00:00", "Z")
