"""A model that finds sound events of any kind, without weights to download.

It says that something sounded, when, at which frequencies and how clearly; not what.
The method is described in `acoupi.components.models.sound_events`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from acoupi import data
from acoupi.components.types import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from acoupi.components.models.sound_events import SoundEvent

__all__ = ["ActivityConfig", "ActivityDetector", "band_name", "score"]

SCORE_WEIGHTS = {"activity": (0.22, 0.83, -7.5), "click": (0.87, 0.0, -6.8)}
"""Per dB, per doubling of the cells, and constant: the logistic regression of "is there
an event?" on scenes made by tests/bench/activity.py, which prints it with --fit."""
BLOCK_SECONDS = 2.0
"""Seconds of sound read at once."""
GAP_SLACK = 0.02
"""Seconds by which a click may miss the gap that caused it: about one window."""
LOWEST_BAND = 250.0
"""Hz; bands are octaves above it: 250-500 Hz, 0.5-1 kHz, and so on."""


class ActivityConfig(BaseModel):
    """What counts as activity."""

    model_config = ConfigDict(extra="forbid")

    low_frequency: float = Field(
        default=200,
        ge=0,
        description="Ignore sound below this frequency, in Hz",
    )
    high_frequency: float | None = Field(
        default=None,
        gt=0,
        description="Ignore sound above this frequency, in Hz (empty: no limit)",
    )
    threshold: float = Field(
        default=9,
        ge=3,
        le=60,
        description="How far a sound must rise above the noise, in dB",
    )
    merge_gap: float = Field(
        default=0.05,
        ge=0,
        le=5,
        description="Join sounds that are at most this far apart, in seconds",
    )
    min_duration: float = Field(
        default=0,
        ge=0,
        le=60,
        description="Ignore sounds shorter than this, in seconds",
    )
    clicks: bool = Field(
        default=True,
        description="Whether single clicks count as activity",
    )
    max_events: int = Field(
        default=500,
        ge=1,
        le=10_000,
        description="Most detections for one recording; the clearest are kept",
    )

    @model_validator(mode="after")
    def _check_band(self) -> Self:
        high = self.high_frequency
        if high is not None and high <= self.low_frequency:
            raise ValueError(
                f"high_frequency {high} Hz must be above low_frequency "
                f"{self.low_frequency} Hz"
            )
        return self


class ActivityDetector(Model):
    """Finds sounds that rise above the noise, whatever made them.

    Each is an event detection with its place in time and frequency, a score that
    grows with its distance from the noise, and two tags: ``sound`` (``activity``, or
    ``click`` for a single impulse) and ``band`` (the octave of its strongest
    frequency). Times and frequencies are those of the original sound, before time
    expansion. Every recording is judged by itself: equal sound gives equal events.

    Parameters
    ----------
    config
        What counts as activity.
    """

    name = "activity"

    def __init__(self, config: ActivityConfig | None = None) -> None:
        self.config = config or ActivityConfig()

    def run(self, recording: data.Recording) -> data.ModelOutput:
        """Analyse one recording, in memory bounded whatever its length.

        Raises
        ------
        SoundFileError
            If its file cannot be read as sound.
        OSError
            If there is no such file.
        ValueError
            If the recording has no file.
        """
        if recording.path is None:
            raise ValueError(f"recording {recording.id} has no file")
        return data.ModelOutput(
            name_model=self.name,
            recording=recording,
            detections=[
                _detection(event)
                for event in self._events(recording)
                if not _is_gap(event, recording)
            ],
        )

    def _events(self, recording: data.Recording) -> list[SoundEvent]:
        from acoupi.audio.soundfiles import read_blocks, read_info
        from acoupi.components.models.sound_events import (
            EventSettings,
            find_sound_events,
        )

        assert recording.path is not None
        samplerate = read_info(recording.path).samplerate
        expansion = recording.time_expansion or 1
        blocks: Iterator[NDArray[np.float32]] = read_blocks(
            recording.path, max(1, round(BLOCK_SECONDS * samplerate))
        )
        # Analysed at the original rate: then every setting means what it says.
        return find_sound_events(
            blocks,
            round(samplerate * expansion),
            EventSettings(
                low_frequency=self.config.low_frequency,
                high_frequency=self.config.high_frequency,
                threshold=self.config.threshold,
                merge_gap=self.config.merge_gap,
                min_duration=self.config.min_duration,
                clicks=self.config.clicks,
                max_events=self.config.max_events,
            ),
        )


def score(event: SoundEvent) -> float:
    """Return how likely the event is more than noise, within (0, 1).

    Grows with the distance from the noise and with the cells covered. It is the share
    of real events among equal ones in the scenes it was fitted on, and means no more
    than that elsewhere (docs/activity.md).
    """
    per_decibel, per_doubling, constant = SCORE_WEIGHTS[event.kind]
    evidence = per_decibel * min(event.snr, 60) + constant
    evidence += per_doubling * math.log2(max(event.cells, 1))
    return 1 / (1 + math.exp(-evidence))


def _is_gap(event: SoundEvent, recording: data.Recording) -> bool:
    """Tell whether a click is where samples were lost: the step sounds like one."""
    if event.kind != "click" or recording.capture is None:
        return False
    rate = recording.samplerate * (recording.time_expansion or 1)
    return any(
        event.start - GAP_SLACK <= gap.at / rate <= event.end + GAP_SLACK
        for gap in recording.capture.gaps
    )


def band_name(frequency: float) -> str:
    """Return the octave a frequency in Hz lies in, as ``2-4 kHz``."""
    if frequency < LOWEST_BAND:
        return f"0-{LOWEST_BAND:g} Hz"
    low = LOWEST_BAND * 2 ** math.floor(math.log2(frequency / LOWEST_BAND))
    if low < 500:
        return f"{low:g}-{2 * low:g} Hz"
    return f"{low / 1000:g}-{low / 500:g} kHz"


def _detection(event: SoundEvent) -> data.Detection:
    confidence = round(score(event), 4)
    return data.EventDetection(
        location=data.BoundingBox.from_coordinates(
            start_time=round(event.start, 4),
            low_freq=round(event.low, 1),
            end_time=round(event.end, 4),
            high_freq=round(event.high, 1),
        ),
        detection_score=confidence,
        tags=[
            data.PredictedTag(data.Tag("sound", event.kind), confidence),
            data.PredictedTag(
                data.Tag("band", band_name(event.peak_frequency)), confidence
            ),
        ],
    )
