"""What was detected over an interval, in one small message instead of many.

A summariser covers the time from the end of its last summary to now, so that late,
early or doubled runs neither miss a recording nor count one twice: periods are
[start, end) and each begins where the one before it ended. The content of a message
is JSON::

    {
      "summary": "statistics",
      "deployment": {"id": "...", "name": "..."},
      "start": "2026-06-01T05:00:00Z",
      "end": "2026-06-01T06:00:00Z",
      "tags": [{"key": "species", "value": "Myotis myotis", ...}]
    }

Times are UTC; a recording belongs to the period in which it began. Tags come in
alphabetical order. A period without detections gives no message, unless
``send_empty`` asks for one with an empty list: that the sensor is alive is told by its
heartbeat.
"""

from __future__ import annotations

import datetime
import json
import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID, uuid5

from acoupi import data
from acoupi.components.schedules import as_instant
from acoupi.components.types import Summariser
from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from acoupi.components.types import Store

__all__ = ["StatisticsDetectionsSummariser", "ThresholdsDetectionsSummariser"]

logger = logging.getLogger(__name__)

_LONGEST_CATCH_UP = datetime.timedelta(days=31)
_NAMESPACE = UUID("0d3a6f0e-6a3a-4d0c-9a35-5f4fcb3c2c11")


class _TagSummariser(Summariser):
    """Reads the tags of a period and describes each of them."""

    kind: ClassVar[str]
    _lowest_score: float = 0

    def __init__(
        self,
        store: Store,
        interval: float,
        *,
        model_names: Sequence[str] | None = None,
        send_empty: bool = False,
    ) -> None:
        if not 0 < interval <= _LONGEST_CATCH_UP.total_seconds():
            raise ConfigurationError(
                f"interval is {interval}: must be seconds, more than 0 and at most "
                f"{_LONGEST_CATCH_UP.total_seconds():.0f} (31 days)"
            )
        self.store = store
        self.interval = interval
        self.model_names = model_names
        self.send_empty = send_empty
        self._covered_until: datetime.datetime | None = None

    def build_summary(self, now: datetime.datetime) -> data.Message | None:
        """Summarise the period that ends ``now``; None when there is nothing to say.

        Changes nothing: until `summary_stored` is called, the next summary begins
        where this one did.
        """
        now = as_instant(now)
        start = self._start(now)
        if start is None:
            return None
        scores: dict[data.Tag, list[float]] = {}
        for predicted in self.store.get_predicted_tags(
            after=start, before=now, model_names=self.model_names
        ):
            if predicted.confidence_score < self._lowest_score:
                continue
            scores.setdefault(predicted.tag, []).append(predicted.confidence_score)
        if not scores and not self.send_empty:
            return None
        deployment = self.store.get_current_deployment()
        content = {
            "summary": self.kind,
            "deployment": {"id": str(deployment.id), "name": deployment.name},
            "start": _to_text(start),
            "end": _to_text(now),
            **self._settings(),
            "tags": [
                {"key": tag.key, "value": tag.value, **self._describe(scores[tag])}
                for tag in sorted(scores, key=lambda tag: (tag.key, tag.value))
            ],
        }
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return data.Message(
            # The same summary has the same id, so that storing it again is no repeat.
            id=uuid5(_NAMESPACE, text),
            content=text,
            created_on=now,
        )

    def summary_stored(self, now: datetime.datetime) -> None:
        """Begin the next summary where the one of ``now`` ended."""
        now = as_instant(now)
        if self._start(now) is not None:
            self._covered_until = now

    def _start(self, now: datetime.datetime) -> datetime.datetime | None:
        """Return where the period that ends ``now`` begins; None when it is too soon.

        Runs less than half an interval after the last one are doubled ticks: their
        time is left to the next. A clock that was set back by more than an interval,
        or ahead by more than 31 days, makes the end of the last period useless.
        """
        interval = datetime.timedelta(seconds=self.interval)
        if self._covered_until is None:
            return now - interval
        elapsed = now - self._covered_until
        if -interval <= elapsed < interval / 2:
            return None
        if elapsed < -interval or elapsed > max(_LONGEST_CATCH_UP, 2 * interval):
            logger.warning(
                "The last summary ended at %s and the clock now says %s: the summary "
                "covers the last %s s only",
                self._covered_until,
                now,
                self.interval,
            )
            return now - interval
        return self._covered_until

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
        self.low_band_threshold = self._lowest_score = low
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
