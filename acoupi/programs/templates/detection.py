"""A program that records, detects, keeps and sends messages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from acoupi.programs.core import AcoupiWorker, WorkerConfig
from acoupi.programs.templates.configuration import DetectionProgramConfiguration
from acoupi.programs.templates.messaging import MessagingProgram

if TYPE_CHECKING:
    from acoupi import data
    from acoupi.components import types

__all__ = ["DetectionProgram"]

DetectionConfig = TypeVar("DetectionConfig", bound=DetectionProgramConfiguration)


class DetectionProgram(MessagingProgram[DetectionConfig], Generic[DetectionConfig]):
    """Runs a model on every recording, beside what `MessagingProgram` does.

    Subclasses say which model: `configure_model`. Task beside those of
    `MessagingProgram`: ``detection_task``, which takes a recording.
    """

    worker_config: ClassVar[WorkerConfig | None] = WorkerConfig(
        workers=[
            AcoupiWorker(name="recording", queues=["recording"], concurrency=1),
            AcoupiWorker(name="default", queues=["celery"], concurrency=2),
            AcoupiWorker(name="detection", queues=["detection"], concurrency=1),
        ]
    )

    model: types.Model

    def setup(self, config: DetectionConfig) -> None:
        """Make the model, then messaging, then the basics."""
        self.model = self.configure_model(config)
        super().setup(config)

    @abstractmethod
    def configure_model(self, config: DetectionConfig) -> types.Model:
        """Return the model; it loads its weights on first use, not here."""

    def get_required_models(
        self,
        config: DetectionConfig,  # noqa: ARG002  # For subclasses.
    ) -> list[str]:
        """Return the models whose output a recording needs before it is decided on."""
        return [self.model.name]

    def get_file_managers(
        self, config: DetectionConfig
    ) -> list[types.RecordingSavingManager]:
        """Return who keeps recordings: those with a detection that counts."""
        from acoupi.components import SaveRecordingManager

        threshold = config.detections.threshold
        return [
            SaveRecordingManager(
                dirpath=config.paths.recordings,
                detection_threshold=threshold,
                saving_threshold=threshold,
                file_format="flac" if config.keeping.file_format == "flac" else "keep",
                make_directories=False,
            )
        ]

    def get_output_cleaners(
        self, config: DetectionConfig
    ) -> list[types.ModelOutputCleaner]:
        """Return what drops detections before they are stored: those below threshold.

        Returns
        -------
        list of ModelOutputCleaner
            Applied one after the other.
        """
        from acoupi.components.cleaners import ThresholdDetectionCleaner

        return [ThresholdDetectionCleaner(config.detections.threshold)]

    def get_processing_filters(
        self,
        config: DetectionConfig,  # noqa: ARG002  # For subclasses.
    ) -> list[types.ProcessingFilter]:
        """Return what makes a recording worth the model's time; with none, each is."""
        return []

    def get_message_factories(
        self, config: DetectionConfig
    ) -> list[types.MessageBuilder]:
        """Return what makes messages of an output."""
        from acoupi.components import DetectionThresholdMessageBuilder

        return [
            DetectionThresholdMessageBuilder(
                detection_threshold=config.detections.threshold
            )
        ]

    def create_detection_task(
        self, config: DetectionConfig
    ) -> Callable[[data.Recording], object]:
        """Return the function that runs the model on a recording."""
        from acoupi.tasks import generate_detection_task

        return generate_detection_task(
            store=self.store,
            models=[self.model],
            output_cleaners=self.get_output_cleaners(config),
            processing_filters=self.get_processing_filters(config),
            # Without a destination, messages would only pile up.
            message_factories=(
                self.get_message_factories(config) if self.messengers else []
            ),
            message_store=self.message_store,
            logger=self.logger.getChild("detection"),
        )

    def register_detection_task(self, config: DetectionConfig) -> None:
        """Add ``detection_task``, called for each new recording."""
        self.detection_task = self.create_detection_task(config)
        self.add_task(self.detection_task, queue="detection", name="detection_task")

    def get_recording_callbacks(
        self, config: DetectionConfig
    ) -> list[Callable[[data.Recording], object]]:
        """Return the tasks that take each new recording: detection."""
        self.register_detection_task(config)
        return [*super().get_recording_callbacks(config), self.detection_task]
