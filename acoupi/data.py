"""What flows through a sensor: deployments, recordings, detections, messages, metrics.

Sound becomes a `Recording`; a model turns it into a `ModelOutput` made of
`Detection` objects; message builders turn outputs into `Message` objects, whose
delivery is answered by a `Response`. All times are aware and in UTC: a naive
datetime is taken as UTC.
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from uuid import UUID, uuid4

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
)

__all__ = [
    "BoundingBox",
    "CaptureReport",
    "ClockState",
    "Deployment",
    "Detection",
    "EventDetection",
    "Message",
    "Metric",
    "ModelOutput",
    "PredictedTag",
    "PresenceDetection",
    "Recording",
    "Response",
    "ResponseStatus",
    "SampleGap",
    "SequenceDetection",
    "Tag",
    "TimeInterval",
    "UtcDatetime",
    "as_utc",
    "utc_now",
]


def utc_now() -> datetime.datetime:
    """Return the current time, aware, in UTC."""
    return datetime.datetime.now(datetime.UTC)


def as_utc(value: datetime.datetime) -> datetime.datetime:
    """Return a time aware and in UTC; a naive one is taken as UTC."""
    if value.tzinfo is None:
        return value.replace(tzinfo=datetime.UTC)
    return value.astimezone(datetime.UTC)


UtcDatetime = Annotated[datetime.datetime, AfterValidator(as_utc)]
"""A datetime that is aware and in UTC; naive input is taken as UTC."""


class TimeInterval(BaseModel):
    """A daily interval of local time; an end before the start means past midnight."""

    start: datetime.time
    end: datetime.time


class Deployment(BaseModel):
    """A sensor at a place for a while."""

    name: str
    """Name of the deployment, chosen by the user."""
    latitude: float | None = Field(default=None, ge=-90, le=90)
    """Degrees north, [-90, 90]."""
    longitude: float | None = Field(default=None, ge=-180, le=180)
    """Degrees east, [-180, 180]."""
    started_on: UtcDatetime = Field(default_factory=utc_now)
    ended_on: UtcDatetime | None = None
    id: UUID = Field(default_factory=uuid4)


class ClockState(BaseModel):
    """What was known of the wall clock when a recording began.

    Lets the recordings of a boot be corrected once the clock is set.
    """

    model_config = ConfigDict(frozen=True)

    synchronised: bool
    """Whether the system clock was known to be set (by NTP or an RTC)."""
    boot_id: str
    """The kernel's boot identifier: monotonic times compare within one boot only."""
    monotonic: float
    """`time.monotonic()` of the recording's first sample, in seconds."""
    corrected: bool = False
    """Whether ``created_on`` was corrected after the clock was set."""


class SampleGap(BaseModel):
    """Samples lost inside a recording."""

    model_config = ConfigDict(frozen=True)

    at: int = Field(ge=0)
    """Frame of the recording before which the samples are missing."""
    lost: int = Field(gt=0)
    """How many frames are missing there."""


class CaptureReport(BaseModel):
    """How a recording was captured: device, losses, level, clock."""

    model_config = ConfigDict(frozen=True)

    device: str | None = None
    """Stable identity of the microphone or of the source that stands for it."""
    first_frame: int = Field(default=0, ge=0)
    """Number of the first frame, counted since the stream was opened."""
    gaps: tuple[SampleGap, ...] = ()
    """Where samples are missing."""
    peak_dbfs: float | None = None
    """Largest absolute sample, in dB relative to full scale."""
    level_dbfs: float | None = None
    """Root mean square level, in dB relative to full scale."""
    clipped: float | None = Field(default=None, ge=0, le=1)
    """Share of samples at full scale."""
    clock: ClockState | None = None

    @property
    def samples_lost(self) -> int:
        """Frames missing in total."""
        return sum(gap.lost for gap in self.gaps)


class Recording(BaseModel):
    """A piece of sound and the file that holds it."""

    created_on: UtcDatetime
    """Time of the first sample."""
    duration: float = Field(gt=0)
    """Seconds of sound."""
    samplerate: int = Field(gt=0)
    """Frames per second of the file, in Hz."""
    deployment: Deployment
    path: Path | None = None
    """Where the file is; None when there is none (any more)."""
    audio_channels: int | None = Field(default=1, gt=0)
    time_expansion: float | None = Field(default=1, gt=0)
    """Factor by which the sound in the file is slowed down."""
    id: UUID = Field(default_factory=uuid4)
    capture: CaptureReport | None = None
    """How it was captured; None for recordings from elsewhere."""


@dataclass(frozen=True)
class Tag:
    """A category and its value, as ``species: Myotis myotis``."""

    key: str
    value: str


@dataclass(frozen=True)
class PredictedTag:
    """A tag with the model's confidence in it."""

    tag: Tag
    confidence_score: float = 1
    """Within [0, 1]."""

    def __post_init__(self) -> None:
        # models give numpy's numbers, which neither JSON nor sqlite takes for numbers
        object.__setattr__(self, "confidence_score", float(self.confidence_score))
        if not 0 <= self.confidence_score <= 1:
            raise ValueError(
                f"confidence_score is {self.confidence_score}: must be within [0, 1]"
            )


class BoundingBox(BaseModel):
    """A region of the time-frequency plane."""

    model_config = ConfigDict(frozen=True)

    type: Literal["BoundingBox"] = "BoundingBox"
    coordinates: tuple[float, float, float, float]
    """Start time (s), low frequency (Hz), end time (s), high frequency (Hz)."""

    @field_validator("coordinates")
    @classmethod
    def _check_order(
        cls, value: tuple[float, float, float, float]
    ) -> tuple[float, float, float, float]:
        start, low, end, high = value
        if not end > start:
            raise ValueError(f"end time {end} s must be after start time {start} s")
        if low < 0:
            raise ValueError(f"low frequency {low} Hz must not be negative")
        if not high > low:
            raise ValueError(
                f"high frequency {high} Hz must be above low frequency {low} Hz"
            )
        return value

    @classmethod
    def from_coordinates(
        cls,
        start_time: float,
        low_freq: float,
        end_time: float,
        high_freq: float,
    ) -> Self:
        """Build a box from its edges, in seconds and Hz."""
        return cls(coordinates=(start_time, low_freq, end_time, high_freq))


PredictionType = Literal["presence", "sequence", "event"]


class Detection(BaseModel):
    """Something a model found in a recording.

    Two detections are equal when all but the order of their tags is; the subclasses
    below equal a `Detection` of their ``prediction_type``.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID = Field(default_factory=uuid4)
    location: BoundingBox | None = None
    detection_score: float = Field(default=1, ge=0, le=1)
    tags: list[PredictedTag] = Field(default_factory=list)
    prediction_type: PredictionType = "presence"
    """How precise the location is: somewhere in the recording (presence), a
    stretch of it (sequence), or one sound (event)."""

    def __eq__(self, other: object) -> bool:
        # by value: a detection that went through a queue or a store may have lost
        # its subclass, which says no more than prediction_type
        if not isinstance(other, Detection):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(self.id)

    @field_validator("tags")
    @classmethod
    def _sort_tags(cls, value: list[PredictedTag]) -> list[PredictedTag]:
        if len(value) < 2:
            return value  # most detections; this is called for each one read back
        return sorted(
            value,
            key=lambda tag: (-tag.confidence_score, tag.tag.key, tag.tag.value),
        )


class PresenceDetection(Detection):
    """A detection that says only that something is in the recording."""

    prediction_type: Literal["presence"] = "presence"


class SequenceDetection(Detection):
    """A detection of a stretch of sounds."""

    prediction_type: Literal["sequence"] = "sequence"


class EventDetection(Detection):
    """A detection of one sound."""

    prediction_type: Literal["event"] = "event"


class ModelOutput(BaseModel):
    """What one model found in one recording.

    Two outputs are equal when all but the order of their detections is.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID = Field(default_factory=uuid4)
    name_model: str
    recording: Recording
    detections: list[Detection] = Field(default_factory=list)
    created_on: UtcDatetime = Field(default_factory=utc_now)

    @field_validator("detections")
    @classmethod
    def _sort_detections(cls, value: list[Detection]) -> list[Detection]:
        return sorted(
            value,
            key=lambda detection: (-detection.detection_score, detection.id),
        )


class Message(BaseModel):
    """Something to be delivered.

    ``id`` is the idempotency key: a receiver that has seen it may drop a repeat.
    """

    id: UUID = Field(default_factory=uuid4)
    content: str | bytes
    created_on: UtcDatetime = Field(default_factory=utc_now)


class ResponseStatus(enum.IntEnum):
    """How an attempt to deliver a message ended."""

    SUCCESS = 0
    FAILED = 1
    ERROR = 2
    TIMEOUT = 3


class Response(BaseModel):
    """The answer to an attempt to deliver a message."""

    status: ResponseStatus
    message: Message
    content: str | None = None
    received_on: UtcDatetime = Field(default_factory=utc_now)


class Metric(BaseModel):
    """A measured quantity of the sensor itself."""

    name: str
    value: float | int | str | bool | None
    unit: str | None = None
    captured_on: UtcDatetime = Field(default_factory=utc_now)
