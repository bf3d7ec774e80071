"""Cleaners of model outputs: what is dropped before anything is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acoupi.components.types import ModelOutputCleaner
from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acoupi import data

__all__ = ["TagKeyCleaner", "ThresholdDetectionCleaner"]


class ThresholdDetectionCleaner(ModelOutputCleaner):
    """Drops what scores below a threshold.

    A detection below the threshold goes with all its tags; in those that stay, tags
    below the threshold go.

    Parameters
    ----------
    detection_threshold
        Smallest score that stays, [0, 1].

    Raises
    ------
    ConfigurationError
        When the threshold is out of range.
    """

    def __init__(self, detection_threshold: float) -> None:
        if not 0 <= detection_threshold <= 1:
            raise ConfigurationError(
                f"detection_threshold is {detection_threshold}: must be within [0, 1]"
            )
        self.detection_threshold = detection_threshold

    def clean(self, model_output: data.ModelOutput) -> data.ModelOutput:
        """Return the output without what scores below the threshold."""
        threshold = self.detection_threshold
        detections = [
            detection.model_copy(
                update={
                    "tags": [
                        tag
                        for tag in detection.tags
                        if tag.confidence_score >= threshold
                    ]
                }
            )
            for detection in model_output.detections
            if detection.detection_score >= threshold
        ]
        return model_output.model_copy(update={"detections": detections})


class TagKeyCleaner(ModelOutputCleaner):
    """Keeps only tags with the given keys; detections left without a tag go.

    Parameters
    ----------
    keys
        The keys that stay, for instance ``species``.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = frozenset(keys)

    def clean(self, model_output: data.ModelOutput) -> data.ModelOutput:
        """Return the output with the tags of those keys alone."""
        cleaned = []
        for detection in model_output.detections:
            tags = [tag for tag in detection.tags if tag.tag.key in self.keys]
            if tags:
                cleaned.append(detection.model_copy(update={"tags": tags}))
        return model_output.model_copy(update={"detections": cleaned})
