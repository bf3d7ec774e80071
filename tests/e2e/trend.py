"""Straight lines through what is measured over hours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

DAY = 86_400.0


@dataclass(frozen=True)
class Trend:
    """How a figure changes, by least squares.

    Parameters
    ----------
    per_day : float
        Its growth in a day.
    error : float
        Standard error of that growth, were each measurement independent of the
        others; they are not quite, so that the true one is larger.
    """

    per_day: float
    error: float


def fit(seconds: Sequence[float], values: Sequence[float]) -> Trend | None:
    """Fit a line; None when there are fewer than three points or all at one time."""
    count = len(seconds)
    if count < 3:
        return None
    mean_time = math.fsum(seconds) / count
    mean_value = math.fsum(values) / count
    spread = math.fsum((it - mean_time) ** 2 for it in seconds)
    if spread == 0:
        return None
    pairs = list(zip(seconds, values, strict=True))
    slope = (
        math.fsum((t - mean_time) * (value - mean_value) for t, value in pairs) / spread
    )
    rest = math.fsum(
        (value - mean_value - slope * (t - mean_time)) ** 2 for t, value in pairs
    )
    return Trend(slope * DAY, math.sqrt(rest / (count - 2) / spread) * DAY)
