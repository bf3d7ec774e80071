"""Fakes that stand for a component and keep what they were given."""

from __future__ import annotations

import datetime
import wave
from typing import TYPE_CHECKING, Any

from acoupi import data
from acoupi.components import types

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = [
    "FakeMessageStore",
    "FakeMessenger",
    "FakeModel",
    "FakeRecorder",
    "make_deployment",
    "make_model_output",
    "make_recording",
]


def make_deployment(**changes: Any) -> data.Deployment:
    """Return a deployment in a London park, with some fields changed."""
    fields = {"name": "test", "latitude": 51.5, "longitude": -0.15, **changes}
    return data.Deployment.model_validate(fields)


def make_recording(path: Path | None = None, **changes: Any) -> data.Recording:
    """Return a recording; with a path, its file is written, and silent.

    Parameters
    ----------
    path
        Where to write the WAV file; None for a recording without a file.
    changes
        Fields of `data.Recording` that are not to have their usual value.
    """
    fields: dict[str, Any] = {
        "created_on": datetime.datetime(2026, 6, 1, 5, tzinfo=datetime.UTC),
        "duration": 1.0,
        "samplerate": 48000,
        "path": path,
        **changes,
    }
    fields.setdefault("deployment", make_deployment())
    recording = data.Recording.model_validate(fields)
    if path is not None:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(recording.audio_channels or 1)
            file.setsampwidth(2)
            file.setframerate(recording.samplerate)
            frames = round(recording.duration * recording.samplerate)
            file.writeframes(bytes(2 * (recording.audio_channels or 1) * frames))
    return recording


def make_model_output(
    recording: data.Recording | None = None,
    name_model: str = "fake",
    tags: Sequence[tuple[str, str, float]] = (("species", "Parus major", 0.9),),
) -> data.ModelOutput:
    """Return an output with one detection per tag: key, value and score."""
    detections = [
        data.Detection(
            detection_score=score,
            tags=[data.PredictedTag(data.Tag(key, value), score)],
        )
        for key, value, score in tags
    ]
    return data.ModelOutput(
        name_model=name_model,
        recording=recording or make_recording(),
        detections=detections,
    )


class FakeRecorder(types.AudioRecorder):
    """Writes silent recordings at once.

    Parameters
    ----------
    dirpath
        Where the files go.
    duration, samplerate
        Of each recording, in seconds and Hz.
    """

    def __init__(
        self, dirpath: Path, duration: float = 0.1, samplerate: int = 8000
    ) -> None:
        self.dirpath = dirpath
        self.duration = duration
        self.samplerate = samplerate
        self.recordings: list[data.Recording] = []

    def record(self, deployment: data.Deployment) -> data.Recording:
        """Return a recording of this instant."""
        self.dirpath.mkdir(parents=True, exist_ok=True)
        recording = make_recording(
            self.dirpath / f"{len(self.recordings):06}.wav",
            created_on=data.utc_now(),
            duration=self.duration,
            samplerate=self.samplerate,
            deployment=deployment,
        )
        self.recordings.append(recording)
        return recording


class FakeModel(types.Model):
    """Finds the same in every recording.

    Parameters
    ----------
    tags
        Key, value and score of what is found.
    name
        Name of the model.
    error
        Raised instead, when given.
    """

    def __init__(
        self,
        tags: Sequence[tuple[str, str, float]] = (("species", "Parus major", 0.9),),
        name: str = "fake",
        error: Exception | None = None,
    ) -> None:
        self.tags = tags
        self.name = name
        self.error = error
        self.seen: list[data.Recording] = []

    def run(self, recording: data.Recording) -> data.ModelOutput:
        """Return the output, or raise the error."""
        self.seen.append(recording)
        if self.error is not None:
            raise self.error
        return make_model_output(recording, self.name, self.tags)


class FakeMessenger(types.Messenger):
    """Keeps what it was given to deliver.

    Parameters
    ----------
    name
        Name of the destination.
    respond
        Says how the delivery of a message ends; default: always SUCCESS. It may raise.
    """

    def __init__(
        self,
        name: str = "fake",
        respond: Callable[[data.Message], data.ResponseStatus] | None = None,
    ) -> None:
        self.name = name
        self.respond = respond
        self.tried: list[data.Message] = []
        self.delivered: list[data.Message] = []

    def send_message(self, message: data.Message) -> data.Response:
        """Take a message."""
        self.tried.append(message)
        status = data.ResponseStatus.SUCCESS
        if self.respond is not None:
            status = self.respond(message)
        if status is data.ResponseStatus.SUCCESS:
            self.delivered.append(message)
        return data.Response(status=status, message=message, content=status.name)

    def check(self) -> None:
        """Find nothing wrong."""


class FakeMessageStore(types.MessageStore):
    """Holds messages in memory."""

    def __init__(self) -> None:
        self.messages: dict[Any, data.Message] = {}
        self.responses: list[data.Response] = []
        self.sent: set[Any] = set()

    def store_message(self, message: data.Message) -> bool:
        """Queue a message; False when its id is known already."""
        if message.id in self.messages:
            return False
        self.messages[message.id] = message
        return True

    def get_unsent_messages(self) -> list[data.Message]:
        """Return what was not acknowledged, oldest first."""
        return [m for key, m in self.messages.items() if key not in self.sent]

    def store_response(self, response: data.Response) -> None:
        """Note how a delivery ended."""
        self.responses.append(response)
        if response.status is data.ResponseStatus.SUCCESS:
            self.sent.add(response.message.id)
