"""A program shaped like the published bird one: the same imports, the same calls."""

import datetime
from pathlib import Path

import pytz
from pydantic import BaseModel, Field

from acoupi import components, data, tasks
from acoupi.components import types
from acoupi.programs import NoUserPrompt
from acoupi.programs.templates import (
    AudioConfiguration,
    DetectionProgram,
    DetectionProgramConfiguration,
    MessagingConfig,
    PathsConfiguration,
)


class SummariserConfig(BaseModel):
    interval: float | None = 120  # minutes
    low_band_threshold: float | None = 0.0
    mid_band_threshold: float | None = 0.0
    high_band_threshold: float | None = 0.0


class SaveRecordingFilter(BaseModel):
    starttime: datetime.time = datetime.time(hour=21, minute=30)
    endtime: datetime.time = datetime.time(hour=23, minute=30)
    before_dawndusk_duration: int = 10
    after_dawndusk_duration: int = 10
    frequency_duration: int = 5
    frequency_interval: int = 30
    saving_threshold: float = 0.8


class SavingPaths(PathsConfiguration):
    true_dir: str = "birds"
    false_dir: str = "no_birds"
    timeformat: str = "%Y%m%d_%H%M%S"


class Audio(AudioConfiguration):
    schedule_start: datetime.time = datetime.time(3, 0)
    schedule_end: datetime.time = datetime.time(23, 0)


class BirdConfiguration(DetectionProgramConfiguration):
    """Configuration of the bird program."""

    recording: Audio = Field(default_factory=Audio)
    paths: SavingPaths = Field(default_factory=SavingPaths)
    recording_saving: SaveRecordingFilter | None = None
    summariser_config: SummariserConfig | None = Field(default_factory=SummariserConfig)
    messaging: MessagingConfig = Field(default_factory=MessagingConfig)
    model_labels: NoUserPrompt[int] = 3


class BirdModel(types.Model):
    name: str = "BirdModel"

    def run(self, recording: data.Recording) -> data.ModelOutput:
        detections = [
            data.Detection(
                detection_score=0.9,
                location=data.BoundingBox.from_coordinates(
                    start_time=0, low_freq=0, end_time=3, high_freq=24_000
                ),
                tags=[
                    data.PredictedTag(
                        tag=data.Tag(key="species", value="Turdus merula"),
                        confidence_score=0.9,
                    )
                ],
            )
        ]
        return data.ModelOutput(
            name_model=self.name, recording=recording, detections=detections
        )


class Program(DetectionProgram[BirdConfiguration]):
    """Detects birds."""

    config_schema = BirdConfiguration

    def setup(self, config):
        super().setup(config)

        if config.summariser_config is not None and config.summariser_config.interval:
            summary_task = tasks.generate_summariser_task(
                summarisers=self.get_summarisers(config),
                message_store=self.message_store,
                logger=self.logger.getChild("summary"),
            )
            self.add_task(
                function=summary_task,
                schedule=datetime.timedelta(minutes=config.summariser_config.interval),
            )

    def configure_model(self, config):
        return BirdModel()

    def get_summarisers(self, config) -> list[types.Summariser]:
        summariser = config.summariser_config
        if summariser.low_band_threshold == 0.0:
            return [
                components.StatisticsDetectionsSummariser(
                    store=self.store, interval=summariser.interval * 60
                )
            ]
        return [
            components.ThresholdsDetectionsSummariser(
                store=self.store,
                interval=summariser.interval * 60,
                low_band_threshold=summariser.low_band_threshold,
                mid_band_threshold=summariser.mid_band_threshold,
                high_band_threshold=summariser.high_band_threshold,
            )
        ]

    def get_file_managers(self, config) -> list[types.RecordingSavingManager]:
        saving_threshold = (
            config.recording_saving.saving_threshold if config.recording_saving else 0.3
        )
        return [
            components.SaveRecordingManager(
                dirpath=config.paths.recordings,
                dirpath_true=config.paths.recordings / config.paths.true_dir,
                dirpath_false=config.paths.recordings / config.paths.false_dir,
                timeformat=config.paths.timeformat,
                detection_threshold=config.detections.threshold,
                saving_threshold=saving_threshold,
            )
        ]

    def get_message_factories(self, config) -> list[types.MessageBuilder]:
        return [
            components.DetectionThresholdMessageBuilder(
                detection_threshold=config.detections.threshold
            )
        ]

    def get_recording_filters(self, config) -> list[types.RecordingSavingFilter]:
        if not config.recording_saving:
            return []
        saving = config.recording_saving
        timezone = pytz.timezone(config.timezone)
        return [
            components.SaveIfInInterval(
                interval=data.TimeInterval(start=saving.starttime, end=saving.endtime),
                timezone=timezone,
            ),
            components.FrequencySchedule(
                duration=saving.frequency_duration,
                frequency=saving.frequency_interval,
            ),
            components.Before_DawnDuskTimeInterval(
                duration=saving.before_dawndusk_duration, timezone=timezone
            ),
            components.After_DawnDuskTimeInterval(
                duration=saving.after_dawndusk_duration, timezone=timezone
            ),
            components.SavingThreshold(saving.saving_threshold),
        ]


def default_recordings(config: BirdConfiguration) -> Path:
    return config.paths.recordings
