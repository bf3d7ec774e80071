"""The contract of every kind of component: one abstract type each.

A component makes one decision or does one action and knows neither Celery nor
configuration files. Programs compose components into tasks
(`acoupi.tasks`); to add one of your own, subclass the type that fits and
return it from the matching method of your program.
"""

# ruff: noqa: ARG002  the defaults of optional methods ignore what they are given

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
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
    "RecordingState",
    "Store",
    "Summariser",
]


RecordingState = Literal["undecided", "kept", "deleted", "set_aside", "missing"]
"""What became of a recording's file."""


class RecordingCondition(ABC):
    """Decides whether to record; a program's conditions are ANDed."""

    @abstractmethod
    def should_record(self, now: datetime.datetime | None = None) -> bool:
        """Tell whether a recording may start at ``now`` (default: the current time)."""

    def use_deployment(self, deployment: data.Deployment) -> None:
        """Take the place of the deployment into account; by default, ignore it."""


class AudioRecorder(ABC):
    """Makes recordings."""

    @abstractmethod
    def record(self, deployment: data.Deployment) -> data.Recording | None:
        """Return the next recording, or None when there is none."""

    def check(self) -> None:
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

    def use_deployment(self, deployment: data.Deployment) -> None:
        """Take the place of the deployment into account; by default, ignore it."""


class RecordingSavingManager(ABC):
    """Puts a recording where it belongs."""

    @abstractmethod
    def save_recording(
        self,
        recording: data.Recording,
        model_outputs: list[data.ModelOutput] | None = None,
    ) -> Path | None:
        """Put the recording's file in its place and return its path there, or None.

        None passes the recording to the next manager; one that every manager passes
        on is deleted. A file left at the former place is removed by the keeping task
        once the new path is stored, so a manager that copies can be repeated after a
        power cut, one that moves cannot.
        """

    def check(self) -> None:
        """Raise an error that names the remedy when it cannot keep recordings."""


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

    def summary_stored(self, now: datetime.datetime) -> None:
        """Note that what `build_summary` returned for ``now`` is queued durably."""


class Messenger(ABC):
    """Delivers messages to one destination."""

    name: str
    """Names the destination; unique within a program."""

    @abstractmethod
    def send_message(self, message: data.Message) -> data.Response:
        """Try to deliver one message; SUCCESS only when it was acknowledged."""

    @abstractmethod
    def check(self) -> None:
        """Raise an error that names the remedy when delivery cannot work."""

    def close(self) -> None:
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

    def get_undecided(
        self, limit: int = 1000
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        """Return recordings that are neither kept, deleted nor set aside yet.

        Oldest first. A store that does not know returns none; files are then found
        by looking into the temporary directory.
        """
        return []

    def get_decidable(
        self, required_models: Sequence[str], limit: int = 1000
    ) -> list[tuple[data.Recording, list[data.ModelOutput]]]:
        """Return undecided recordings that no required model has yet to look at."""
        return [
            (recording, outputs)
            for recording, outputs in self.get_undecided(limit)
            if not self.get_unfinished_models(recording, required_models)
        ]

    def pending(
        self, required_models: Sequence[str], limit: int = 100
    ) -> list[data.Recording]:
        """Return undecided recordings that some required model has yet to look at."""
        return [
            recording
            for recording, _ in self.get_undecided(limit)
            if self.get_unfinished_models(recording, required_models)
        ]

    def settle_recording(
        self,
        recording: data.Recording,
        path: Path | None,
        outcome: RecordingState,
        reason: str | None = None,
    ) -> data.Recording:
        """Store what became of a recording, where its file is now, and why."""
        return self.update_recording_path(recording, path)

    def get_state(self, recording: data.Recording) -> RecordingState | None:
        """Return what became of a recording; None when it was never stored."""
        found = self.get_recordings([recording.id])
        if not found:
            return None
        return "deleted" if found[0][0].path is None else "undecided"

    def note_attempt(self, recording: data.Recording, model_name: str) -> int:
        """Note that a model starts on a recording; return how often it has started.

        Noted before the model runs, so that one that takes the process down with it
        is counted too.
        """
        return 1

    def withdraw_attempt(self, recording: data.Recording, model_name: str) -> None:
        """Do not count the last attempt: something else than the model failed."""

    def is_under_way(self, recording: data.Recording, model_name: str) -> bool:
        """Tell whether a model may be working on the recording at this moment."""
        return False

    def note_refusal(
        self, recording: data.Recording, model_name: str, reason: str
    ) -> None:
        """Note that a filter decided against running a model on the recording."""

    def note_failure(
        self, recording: data.Recording, model_name: str, reason: str
    ) -> None:
        """Note that a model will not be tried on the recording any more."""

    def get_failures(self, recording: data.Recording) -> dict[str, str]:
        """Return the models that were given up on the recording, with the reasons."""
        return {}

    def get_unfinished_models(
        self, recording: data.Recording, model_names: Sequence[str]
    ) -> list[str]:
        """Return those models that still have to look at the recording."""
        done = {
            output.name_model
            for _, outputs in self.get_recordings([recording.id])
            for output in outputs
        }
        return [name for name in model_names if name not in done]

    def add_loss(self, kind: str, count: int, reason: str) -> None:
        """Count something lost or dropped; the same reason gives one sum per day."""


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
