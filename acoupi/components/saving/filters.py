"""Which recordings are worth keeping, by what was found in them.

Filters are ORed. Filters by time are in `acoupi.components.saving_filters`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acoupi.components.types import RecordingSavingFilter
from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acoupi import data

__all__ = ["HasTag", "SavingThreshold", "best_score"]


def best_score(model_outputs: Iterable[data.ModelOutput] | None) -> float | None:
    """Return the highest detection score of all outputs, None without a detection."""
    return max(
        (
            detection.detection_score
            for output in model_outputs or ()
            for detection in output.detections
        ),
        default=None,
    )


class SavingThreshold(RecordingSavingFilter):
    """Keeps recordings in which some detection's score reaches a threshold.

    Parameters
    ----------
    saving_threshold
        Smallest ``detection_score`` that is worth keeping, [0, 1].

    Raises
    ------
    ConfigurationError
        When the threshold is out of range.
    """

    def __init__(self, saving_threshold: float) -> None:
        if not 0 <= saving_threshold <= 1:
            raise ConfigurationError(
                f"saving_threshold is {saving_threshold}: must be within [0, 1]"
            )
        self.saving_threshold = saving_threshold

    def should_save_recording(
        self,
        recording: data.Recording,  # noqa: ARG002  the contract's argument
        model_outputs: list[data.ModelOutput] | None = None,
    ) -> bool:
        """Tell whether something was detected with enough certainty."""
        best = best_score(model_outputs)
        return best is not None and best >= self.saving_threshold


class HasTag(RecordingSavingFilter):
    """Keeps recordings in which one of the given tags was predicted.

    Parameters
    ----------
    tags
        The tags wanted.
    score
        Smallest confidence score of the tag, [0, 1].
    """

    def __init__(self, tags: Iterable[data.Tag], score: float = 0) -> None:
        self.tags = frozenset(tags)
        self.score = score

    def should_save_recording(
        self,
        recording: data.Recording,  # noqa: ARG002  the contract's argument
        model_outputs: list[data.ModelOutput] | None = None,
    ) -> bool:
        """Tell whether one of the tags was predicted with enough confidence."""
        return any(
            predicted.tag in self.tags and predicted.confidence_score >= self.score
            for output in model_outputs or ()
            for detection in output.detections
            for predicted in detection.tags
        )
