"""The configuration schemas of the templates; their descriptions are the prompts."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator

from acoupi.components.messengers import HTTPConfig, MQTTConfig
from acoupi.components.metrics import MetricsConfig
from acoupi.components.places import FullPath
from acoupi.components.recorders import MicrophoneConfig
from acoupi.programs.core.prompting import NoUserPrompt
from acoupi.programs.templates.places import data_path, temporary_audio_path

__all__ = [
    "AudioConfiguration",
    "BasicProgramConfiguration",
    "DetectionProgramConfiguration",
    "DetectionsConfiguration",
    "KeepingConfiguration",
    "MessagingConfig",
    "MessagingProgramConfiguration",
    "PathsConfiguration",
    "RetentionConfiguration",
]


class AudioConfiguration(BaseModel):
    """How long, how often and when to record."""

    duration: float = Field(
        default=3,
        gt=0,
        le=3600,
        description="Length of a recording, in seconds.",
    )
    interval: float = Field(
        default=10,
        ge=0,
        le=86400,
        description="Seconds from the start of one recording to the start of the next; "
        "equal to the duration: without a gap.",
    )
    chunksize: Annotated[int, NoUserPrompt] = Field(
        default=8192,
        ge=64,
        le=1048576,
        description="Frames that are taken from the microphone at a time.",
    )
    schedule_start: datetime.time = Field(
        default=datetime.time(6, 0),
        description="Local time of day at which recording starts.",
    )
    schedule_end: datetime.time = Field(
        default=datetime.time(22, 30),
        description="Local time of day at which recording ends; earlier than the "
        "start: on the next day; equal to the start: always.",
    )


class PathsConfiguration(BaseModel):
    """Where recordings and their metadata are kept."""

    tmp_audio: FullPath = Field(
        default_factory=temporary_audio_path,
        description="Directory in which recordings wait until it is decided whether "
        "they are kept; best in memory.",
    )
    recordings: FullPath = Field(
        default_factory=lambda: data_path("recordings"),
        description="Directory of the recordings that are kept.",
    )
    db_metadata: FullPath = Field(
        default_factory=lambda: data_path("acoupi.db"),
        description="Database of recordings and detections.",
    )


class KeepingConfiguration(BaseModel):
    """How recordings are kept."""

    file_format: Literal["flac", "wav"] = Field(
        default="flac",
        description="Format of the recordings that are kept; flac loses nothing and "
        "takes half the space.",
    )
    unanalysed: Literal["delete", "keep"] = Field(
        default="delete",
        description="What becomes of the oldest recordings that wait for a model when "
        "paths.tmp_audio fills up, because the model is slower than the recording: "
        "deleted when it is full, or kept without analysis from the half on. Both are "
        "counted.",
    )


class RetentionConfiguration(BaseModel):
    """Which kept recordings are deleted again, to make room for new ones."""

    min_free_space: float = Field(
        default=500,
        ge=0,
        description="Free space to keep on the disk of the recordings, in MB: the "
        "oldest recordings are deleted to have it. 0: never delete for space.",
    )
    max_age: float | None = Field(
        default=None,
        gt=0,
        description="Days after which recordings are deleted; empty: never.",
    )
    min_per_tag: int = Field(
        default=10,
        ge=0,
        description="Recordings of each tag that are never deleted, the best first.",
    )


class BasicProgramConfiguration(BaseModel):
    """What every sensor that records needs to know."""

    timezone: str = Field(
        default="Europe/London",
        description="Time zone of the sensor, as in Europe/London.",
    )
    microphone: MicrophoneConfig = Field(
        description="The microphone, or what stands for it."
    )
    recording: AudioConfiguration = Field(
        default_factory=AudioConfiguration,
        description="How long, how often and when to record.",
    )
    paths: PathsConfiguration = Field(
        default_factory=PathsConfiguration,
        description="Where recordings and their metadata are kept.",
    )
    keeping: Annotated[KeepingConfiguration, NoUserPrompt] = Field(
        default_factory=KeepingConfiguration,
        description="How recordings are kept.",
    )
    retention: Annotated[RetentionConfiguration, NoUserPrompt] = Field(
        default_factory=RetentionConfiguration,
        description="Which kept recordings are deleted again.",
    )
    metrics: Annotated[MetricsConfig, NoUserPrompt] = Field(
        default_factory=MetricsConfig,
        description="Where a monitoring system on this machine finds the figures.",
    )

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str) -> str:
        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"{value!r} is not a time zone: use an IANA name such as Europe/London "
                "or UTC"
            ) from error
        return value


class MessagingConfig(BaseModel):
    """Where messages are sent, how often, and where they wait until then."""

    messages_db: FullPath = Field(
        default_factory=lambda: data_path("acoupi.db"),
        description="Database of the messages that wait. When it is the database of "
        "recordings, a detection and its message are stored together or not at all.",
    )
    message_send_interval: float = Field(
        default=120,
        gt=0,
        le=86400,
        description="Seconds between two attempts to send what waits.",
    )
    max_messages: int | None = Field(
        default=None,
        ge=1,
        description="Messages sent in one go at most; empty: all.",
    )
    message_order: Literal["oldest_first", "newest_first"] = Field(
        default="oldest_first",
        description="Which of the waiting messages are sent first.",
    )
    heartbeat_interval: float = Field(
        default=3600,
        gt=0,
        le=604800,
        description="Seconds between two messages about the state of the sensor.",
    )
    http: HTTPConfig | None = Field(
        default=None, description="HTTP server that takes the messages."
    )
    mqtt: MQTTConfig | None = Field(
        default=None, description="MQTT broker that takes the messages."
    )


class MessagingProgramConfiguration(BasicProgramConfiguration):
    """What a sensor that records and sends messages needs to know."""

    messaging: MessagingConfig = Field(
        default_factory=MessagingConfig,
        description="Where messages are sent, and how often.",
    )


class DetectionsConfiguration(BaseModel):
    """Which detections count."""

    threshold: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Score from which a detection counts, from 0 to 1.",
    )


class DetectionProgramConfiguration(MessagingProgramConfiguration):
    """What a sensor that records, detects and sends messages needs to know."""

    detections: DetectionsConfiguration = Field(
        default_factory=DetectionsConfiguration,
        description="Which detections count.",
    )
