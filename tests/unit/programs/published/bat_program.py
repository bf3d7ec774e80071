"""A program shaped like the published bat one: its own workers, tasks and summary."""

import datetime

import pytz
from pydantic import BaseModel, Field

from acoupi import components, data, tasks
from acoupi.components import (
    HTTPConfig,
    IsInInterval,
    IsInIntervals,
    MicrophoneConfig,
    MQTTConfig,
    SqliteStore,
)
from acoupi.components.types import Model
from acoupi.programs import AcoupiProgram, AcoupiWorker, WorkerConfig
from acoupi.programs.templates import (
    BasicProgram,
    BasicProgramConfiguration,
    DetectionProgram,
    DetectionProgramConfiguration,
    MessagingProgram,
    MessagingProgramConfiguration,
)

__all__ = [
    "AcoupiProgram",
    "BasicProgram",
    "BasicProgramConfiguration",
    "HTTPConfig",
    "IsInInterval",
    "MQTTConfig",
    "MessagingProgram",
    "MessagingProgramConfiguration",
    "SqliteStore",
]


class ModelConfig(BaseModel):
    detection_threshold: float = 0.4


class BatMicrophone(MicrophoneConfig):
    samplerate: int = 192_000


class BatConfiguration(DetectionProgramConfiguration):
    """Configuration of the bat program."""

    microphone: BatMicrophone
    model: ModelConfig = Field(default_factory=ModelConfig)
    summary_interval: float = 3600


class BatModel(Model):
    name = "BatModel"

    def __init__(self, detection_threshold):
        self.detection_threshold = detection_threshold
        self.weights = None

    def run(self, recording):
        if self.weights is None:
            self.weights = object()
        tag = data.Tag(key="species", value="Pipistrellus pipistrellus")
        return data.ModelOutput(
            name_model=self.name,
            recording=recording,
            detections=[
                data.Detection(
                    detection_score=0.7,
                    location=data.BoundingBox(
                        type="BoundingBox",
                        coordinates=(0.1, 42_000.0, 0.12, 61_000.0),
                    ),
                    tags=[data.PredictedTag(tag=tag, confidence_score=0.7)],
                )
            ],
        )


class BatProgram(DetectionProgram[BatConfiguration]):
    """Detects bats."""

    config_schema = BatConfiguration
    worker_config = WorkerConfig(
        workers=[
            AcoupiWorker(name="recording", queues=["recording"], concurrency=1),
            AcoupiWorker(name="default", queues=["celery"]),
            AcoupiWorker(name="detection", queues=["detection"], concurrency=1),
        ]
    )

    def setup(self, config):
        super().setup(config)
        self.add_task(
            function=tasks.generate_summariser_task(
                summarisers=[
                    components.ThresholdsDetectionsSummariser(
                        store=self.store, interval=config.summary_interval
                    )
                ],
                message_store=self.message_store,
                logger=self.logger,
            ),
            schedule=datetime.timedelta(seconds=config.summary_interval),
            queue="celery",
        )

    def configure_model(self, config):
        return BatModel(config.model.detection_threshold)

    def get_recording_conditions(self, config):
        timezone = pytz.timezone(config.timezone)
        night = data.TimeInterval(
            start=config.recording.schedule_start, end=config.recording.schedule_end
        )
        return [IsInIntervals(intervals=[night], timezone=timezone)]
