"""The contract of every kind of component: one abstract type each.

A component makes one decision or does one action and knows neither Celery nor
configuration files. Programs compose components into tasks
(`acoupi.tasks`); to add one of your own, subclass the type that fits and
return it from the matching method of your program.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from acoupi import data

__all__ = [
    "AudioRecorder",
    "ContinuousRecorder",
    "MessageBuilder",
    "MessageStore",
    "Messenger",
    "Model",
    "ModelOutputCleaner",
    "ProcessingFilter",
    "RecordingCondition",
    "RecordingSavingFilter",
    "RecordingSavingManager",
    "Store",
    "Summariser",
]


class RecordingCondition(ABC):
    """Decides whether to record; a program's conditions are ANDed."""

    @abstractmethod
    def should_record(self, now: datetime.datetime | None = None) -> bool:
        """Tell whether a recording may start at ``now`` (default: the current time)."""

    def use_deployment(self, deployment: data.Deployment) -> None:  # noqa: B027
        """Take the place of the deployment into account; by default, ignore it."""


class AudioRecorder(ABC):
    """Makes recordings."""

    @abstractmethod
    def record(self, deployment: data.Deployment) -> data.Recording | None:
        """Return the next recording, or None when there is none."""

    def check(self) -> None:  # noqa: B027
        """Raise an error that names the remedy when recording cannot work."""


class ContinuousRecorder(AudioRecorder):
    """A recorder that holds one stream open in the recording worker.

    The worker calls `start` once, tasks harvest finished recordings, and the worker
    calls `stop` after its tasks have drained.
    """

    @abstractmethod
    def start(
        self,
        get_deployment: Callable[[], data.Deployment],
        conditions: Sequence[RecordingCondition] = (),
    ) -> None:
        """Open the stream and record whenever every condition holds.

        Returns at once, whether or not the microphone is there: opening is retried
        for ever in the background.
        """

    @abstractmethod
    def stop(self) -> None:
        """Close the stream; what was recorded until now ends as a shorter recording."""

    @abstractmethod
    def harvest(self) -> Iterator[data.Recording]:
        """Yield each finished recording that was not harvested before, oldest first."""

    @property
    @abstractmethod
    def healthy(self) -> bool:
        """Whether capture makes progress, or is waiting on purpose."""


class ProcessingFilter(ABC):
    """Decides whether a recording is worth a model's time; filters are ANDed."""

    @abstractmethod
    def should_process(self, recording: data.Recording) -> bool:
        """Tell whether models are to run on the recording."""


class Model(ABC):
    """Finds things in recordings. Loads its weights on first use, not before."""

    name: str
    """Equals the ``name_model`` of its outputs."""

    @abstractmethod
    def run(self, recording: data.Recording) -> data.ModelOutput:
        """Analyse one recording."""


class ModelOutputCleaner(ABC):
    """Drops or changes detections of an output before it is stored."""

    @abstractmethod
    def clean(self, model_output: data.ModelOutput) -> data.ModelOutput:
        """Return the cleaned output."""


class RecordingSavingFilter(ABC):
    """Decides whether a recording is kept; filters are ORed."""

    @abstractmethod
    def should_save_recording(
        self,
        recording: data.Recording,
        model_outputs: list[data.ModelOutput] | None = None,
    ) -> bool:
        """Tell whether the recording is worth keeping."""

    def use_deployment(self, deployment: data.Deployment) -> None:  # noqa: B027
        """Take the place of the deployment into account; by default, ignore it."""


class RecordingSavingManager(ABC):
    """Puts a recording where it belongs."""

    @abstractmethod
    def save_recording(
        self,
        recording: data.Recording,
        model_outputs: list[data.ModelOutput] | None = None,
    ) -> Path | None:
        """Move the recording's file and return its new path, or None to pass.

        A recording that every manager passes on is deleted.
        """


class MessageBuilder(ABC):
    """Turns a model's output into messages."""

    @abstractmethod
    def build_message(
        self, model_output: data.ModelOutput
    ) -> data.Message | list[data.Message] | None:
        """Return what is to be sent about the output, or None."""


class Summariser(ABC):
    """Turns what was stored over an interval into messages."""

    interval: float
    """Seconds between two summaries."""

    @abstractmethod
    def build_summary(
        self, now: datetime.datetime
    ) -> data.Message | list[data.Message] | None:
        """Return the summary of the interval that ends ``now``, or None."""


class Messenger(ABC):
    """Delivers messages to one destination."""

    name: str
    """Names the destination; unique within a program."""

    @abstractmethod
    def send_message(self, message: data.Message) -> data.Response:
        """Try to deliver one message. SUCCESS only when the receiver acknowledged it."""

    @abstractmethod
    def check(self) -> None:
        """Raise an error that names the remedy when delivery cannot work."""

    def close(self) -> None:  # noqa: B027
        """Release connections; the messenger may be used again afterwards."""


class Store(ABC):
    """Keeps the metadata of deployments, recordings and what models found."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """Group what is written inside into one atomic, durable commit. Nests."""

    @abstractmethod
    def get_current_deployment(self) -> data.Deployment:
        """Return the running deployment; start an unnamed one when there is none."""

    @abstractmethod
    def store_deployment(self, deployment: data.Deployment) -> None:
        """Store a new deployment."""

    @abstractmethod
    def update_deployment(self, deployment: data.Deployment) -> None:
        """Store a changed deployment."""

    @abstractmethod
    def store_recording(self, recording: data.Recording) -> None:
        """Store a recording; storing it again changes nothing."""

    @abstractmethod
    def store_model_output(self, model_output: data.ModelOutput) -> bool:
        """Store an output and its recording.

        Returns False, and changes nothing, when that recording already has an output
        of that model.
        """

    @abstractmethod
    def get_recordings(
        self, ids: Sequence[UUID] | None = None
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        """Return recordings with the outputs stored for them."""

    @abstractmethod
    def get_recordings_by_path(
        self, paths: Sequence[Path]
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        """Return the recordings whose files have these paths, with their outputs."""

    @abstractmethod
    def update_recording_path(
        self, recording: data.Recording, path: Path | None
    ) -> data.Recording:
        """Store where a recording's file is now; None when it was deleted."""

    @abstractmethod
    def get_predicted_tags(
        self,
        after: datetime.datetime | None = None,
        before: datetime.datetime | None = None,
        score_gt: float | None = None,
        model_names: Sequence[str] | None = None,
    ) -> list[data.PredictedTag]:
        """Return the tags of detections in recordings made in [after, before)."""


class MessageStore(ABC):
    """Holds messages until each destination has acknowledged them."""

    @abstractmethod
    def store_message(self, message: data.Message) -> bool:
        """Queue a message for every destination; False when its id is known already."""

    @abstractmethod
    def get_unsent_messages(self) -> list[data.Message]:
        """Return messages that some destination has not acknowledged, oldest first."""

    @abstractmethod
    def store_response(self, response: data.Response) -> None:
        """Note how an attempt to deliver to every destination ended."""
