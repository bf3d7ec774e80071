"""A program that records and keeps."""

from __future__ import annotations

import datetime
import threading
import zoneinfo
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from acoupi import data
from acoupi.components import types
from acoupi.programs.core import AcoupiProgram, AcoupiWorker, WorkerConfig
from acoupi.programs.templates.configuration import BasicProgramConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acoupi.components.metrics import MetricsEndpoint
    from acoupi.components.saving.retention import Retention

__all__ = ["BasicProgram"]

BasicConfig = TypeVar("BasicConfig", bound=BasicProgramConfiguration)

FILE_MANAGEMENT_INTERVAL = 30.0
"""Seconds between two looks at the recordings that wait for a decision."""

LONGEST_HARVEST_INTERVAL = 10.0
"""Seconds at most for which a finished recording waits to be handed on."""

RECONCILE_INTERVAL = 60.0
"""Seconds between two searches for what was forgotten."""

CLOCK_CORRECTION_INTERVAL = 60.0
"""Seconds between two looks whether the clock was set."""

RECONCILE_PATIENCE = 120.0
"""Seconds that a recording waits for its analysis before it is rung for again."""


class BasicProgram(AcoupiProgram[BasicConfig], Generic[BasicConfig]):
    """Records on a schedule and keeps the recordings.

    Tasks: ``recording_task``, ``file_management_task``, ``reconcile_task``,
    ``clock_correction_task``. Override a ``configure_``, ``get_`` or ``create_``
    method to change a part.
    """

    worker_config: ClassVar[WorkerConfig | None] = WorkerConfig(
        workers=[
            AcoupiWorker(name="recording", queues=["recording"], concurrency=1),
            # Two, so that a slow server does not keep recordings from being decided on.
            AcoupiWorker(name="default", queues=["celery"], concurrency=2),
        ]
    )

    recorder: types.AudioRecorder
    store: types.Store

    def setup(self, config: BasicConfig) -> None:
        """Make the recorder, the store and the tasks."""
        self._prepare_store(config)
        self.recorder = self.configure_recorder(config)
        self._conditions = list(self.get_recording_conditions(config))
        self._deployment_lock = threading.Lock()
        self._known_deployment: data.Deployment | None = None
        self._endpoint = self.configure_metrics(config)
        self.register_recording_task(config)
        self.register_file_management_task(config)
        self.register_reconcile_task(config)
        self.register_clock_correction_task(config)

    # Parts.

    def configure_recorder(self, config: BasicConfig) -> types.AudioRecorder:
        """Return what records; it opens no device yet."""
        from acoupi.components import MicrophoneRecorder

        run_dir = self.run_dir
        return MicrophoneRecorder(
            microphone=config.microphone,
            duration=config.recording.duration,
            interval=config.recording.interval,
            chunksize=config.recording.chunksize,
            dirpath=config.paths.tmp_audio,
            status_file=run_dir / "recorder.json" if run_dir else None,
        )

    def configure_store(self, config: BasicConfig) -> types.Store:
        """Return where metadata is kept."""
        from acoupi.components import SqliteStore

        return SqliteStore(config.paths.db_metadata)

    def get_recording_conditions(
        self, config: BasicConfig
    ) -> Sequence[types.RecordingCondition]:
        """Return the conditions to record; all must hold."""
        from acoupi.components import IsInInterval

        recording = config.recording
        return [
            IsInInterval(
                interval=data.TimeInterval(
                    start=recording.schedule_start, end=recording.schedule_end
                ),
                timezone=zoneinfo.ZoneInfo(config.timezone),
            )
        ]

    def get_recording_callbacks(
        self,
        config: BasicConfig,  # noqa: ARG002  # For subclasses.
    ) -> list[Callable[[data.Recording], object]]:
        """Return the tasks that take each new recording."""
        return []

    def get_required_models(
        self,
        config: BasicConfig,  # noqa: ARG002  # For subclasses.
    ) -> list[str]:
        """Return the models whose output a recording needs before it is decided on."""
        return []

    def get_file_managers(
        self, config: BasicConfig
    ) -> list[types.RecordingSavingManager]:
        """Return who puts a recording where it belongs; the first that does wins."""
        from acoupi.components import SaveRecordingManager

        recordings = config.paths.recordings
        return [
            SaveRecordingManager(
                dirpath=recordings,
                file_format="flac" if config.keeping.file_format == "flac" else "keep",
                make_directories=False,
            )
        ]

    def get_recording_filters(
        self,
        config: BasicConfig,  # noqa: ARG002  # For subclasses.
    ) -> list[types.RecordingSavingFilter]:
        """Return what makes a recording worth keeping; with none, each is kept."""
        return []

    def configure_retention(self, config: BasicConfig) -> Retention | None:
        """Return what makes room for new recordings; None to keep all for ever."""
        from acoupi.components.saving.retention import Retention

        retention = config.retention
        days = retention.max_age
        if not retention.min_free_space and days is None:
            return None
        return Retention(
            config.paths.recordings,
            min_free_bytes=round(retention.min_free_space * 1e6),
            max_age=None if days is None else datetime.timedelta(days=days),
            min_per_tag=retention.min_per_tag,
        )

    def configure_metrics(self, config: BasicConfig) -> MetricsEndpoint | None:
        """Return what offers the figures to a monitoring system; None: nothing does."""
        if not config.metrics.wanted:
            return None
        from acoupi.components.metrics import MetricsEndpoint

        return MetricsEndpoint(config.metrics, lambda: self.collect_metrics(config))

    def collect_metrics(self, config: BasicConfig) -> list[data.Metric]:
        """Return the figures of the moment, for the heartbeat and for monitoring."""
        from acoupi.components.health import collect_metrics

        run_dir = self.run_dir
        return collect_metrics(
            store=self.store,
            # There is one in programs that send messages.
            message_store=getattr(self, "message_store", None),
            status_file=run_dir / "recorder.json" if run_dir else None,
            paths=[config.paths.recordings, config.paths.tmp_audio],
            required_models=self.get_required_models(config),
        )

    # Tasks.

    def create_recording_task(
        self,
        config: BasicConfig,  # noqa: ARG002  # For subclasses.
    ) -> Callable[[], Iterator[data.Recording]]:
        """Return the function that stores and hands on what was recorded."""
        from acoupi.tasks import generate_recording_task

        return generate_recording_task(
            recorder=self.recorder,
            store=self.store,
            recording_conditions=self._conditions,
            logger=self.logger.getChild("recording"),
        )

    def register_recording_task(self, config: BasicConfig) -> None:
        """Add ``recording_task``, at least once per recording."""
        self.add_task(
            self.create_recording_task(config),
            callbacks=self.get_recording_callbacks(config),
            schedule=self._recording_period(config),
            queue="recording",
            name="recording_task",
        )

    def create_file_management_task(self, config: BasicConfig) -> Callable[[], object]:
        """Return the function that keeps or deletes recordings."""
        from acoupi.tasks import generate_file_management_task

        return generate_file_management_task(
            store=self.store,
            file_managers=self.get_file_managers(config),
            file_filters=self.get_recording_filters(config),
            required_models=self.get_required_models(config),
            tmp_path=config.paths.tmp_audio,
            retention=self.configure_retention(config),
            logger=self.logger.getChild("file_management"),
            waiting_room=(
                getattr(self.recorder, "pending", None)
                if config.keeping.unanalysed == "keep"
                else None
            ),
        )

    def register_file_management_task(self, config: BasicConfig) -> None:
        """Add ``file_management_task``."""
        self.add_task(
            self.create_file_management_task(config),
            schedule=FILE_MANAGEMENT_INTERVAL,
            name="file_management_task",
        )

    def create_reconcile_task(self, config: BasicConfig) -> Callable[[], object]:
        """Return the function that rings again for what was forgotten."""
        from acoupi.tasks import generate_reconcile_task

        return generate_reconcile_task(
            store=self.store,
            ring=self._ring_again,
            required_models=self.get_required_models(config),
            logger=self.logger.getChild("reconcile"),
            patience=RECONCILE_PATIENCE,
            count_waiting=self._count_waiting,
        )

    def register_reconcile_task(self, config: BasicConfig) -> None:
        """Add ``reconcile_task``."""
        self.add_task(
            self.create_reconcile_task(config),
            schedule=RECONCILE_INTERVAL,
            name="reconcile_task",
        )

    def create_clock_correction_task(self, config: BasicConfig) -> Callable[[], object]:
        """Return the function that dates what was recorded before the clock was set."""
        from acoupi.tasks import generate_clock_correction_task

        return generate_clock_correction_task(
            store=self.store,
            logger=self.logger.getChild("clock_correction"),
            tmp_path=config.paths.tmp_audio,
        )

    def register_clock_correction_task(self, config: BasicConfig) -> None:
        """Add ``clock_correction_task``."""
        self.add_task(
            self.create_clock_correction_task(config),
            schedule=CLOCK_CORRECTION_INTERVAL,
            name="clock_correction_task",
        )

    # The life of a sensor.

    def check(self, config: BasicConfig) -> None:
        """Raise an error that names the remedy when recording cannot work."""
        self.recorder.check()
        for manager in self.get_file_managers(config):
            manager.check()

    def on_start(self, deployment: data.Deployment) -> None:
        """Store the deployment that starts."""
        self.store.store_deployment(deployment)

    def on_end(self, deployment: data.Deployment) -> None:
        """Store the end of the deployment."""
        if deployment.ended_on is None:
            deployment = deployment.model_copy(update={"ended_on": data.utc_now()})
        self.store.update_deployment(deployment)

    def worker_started(self, queues: Sequence[str]) -> None:
        """Start recording, in the worker that has the recording task."""
        recorder = self._continuous_recorder(queues)
        if recorder is not None:
            recorder.start(self._get_deployment, self._conditions)
        if (endpoint := self._metrics_endpoint(queues)) is not None:
            endpoint.start()
        for name in ("file_management_task", "reconcile_task"):
            # What a power cut left is looked at now, not when it is next due.
            if self.get_queue(name) in queues:
                self.call(name)

    def worker_stopping(self, queues: Sequence[str]) -> None:
        """Stop recording, and store what was recorded, and what lost, until now."""
        try:
            recorder = self._continuous_recorder(queues)
            if recorder is not None:
                self._stop_recording(recorder)
        finally:
            if (endpoint := self._metrics_endpoint(queues)) is not None:
                endpoint.stop()

    def _stop_recording(self, recorder: types.ContinuousRecorder) -> None:
        from acoupi.tasks.record import store_losses

        recorder.stop()
        try:
            for recording in recorder.harvest():
                self.store.store_recording(recording)
        finally:
            store_losses(recorder, self.store, self.logger)

    def worker_healthy(self, queues: Sequence[str]) -> bool:
        """Tell whether recording makes progress, or waits on purpose."""
        recorder = self._continuous_recorder(queues)
        return recorder is None or recorder.healthy

    def needs_broker(self, queues: Sequence[str]) -> bool:
        """Tell that a recording worker works on without the broker."""
        return self._continuous_recorder(queues) is None

    def _prepare_store(self, config: BasicConfig) -> None:
        # Subclasses' parts, made before the basics, may need the store.
        if not hasattr(self, "store"):
            self.store = self.configure_store(config)

    def _recording_period(self, config: BasicConfig) -> datetime.timedelta:
        duration, interval = config.recording.duration, config.recording.interval
        seconds = max(duration, interval, 1.0)
        if isinstance(self.recorder, types.ContinuousRecorder):
            # It keeps its own time: a tick only fetches what is finished.
            seconds = min(max(duration, 1.0), LONGEST_HARVEST_INTERVAL)
        return datetime.timedelta(seconds=seconds)

    def _continuous_recorder(
        self, queues: Sequence[str]
    ) -> types.ContinuousRecorder | None:
        if not isinstance(self.recorder, types.ContinuousRecorder):
            return None
        return self.recorder if self.get_queue("recording_task") in queues else None

    def _metrics_endpoint(self, queues: Sequence[str]) -> MetricsEndpoint | None:
        # In the templates that is not the worker that records.
        here = self.get_queue("file_management_task") in queues
        return self._endpoint if here else None

    def _count_waiting(self) -> int | None:
        return self.count_waiting_callbacks("recording_task")

    def _ring_again(self, recording: data.Recording) -> None:
        self.ring_callbacks("recording_task", recording)

    def _get_deployment(self) -> data.Deployment:
        deployment = self.store.get_current_deployment()
        with self._deployment_lock:
            if deployment != self._known_deployment:
                self._known_deployment = deployment
                for condition in self._conditions:
                    condition.use_deployment(deployment)
        return deployment
