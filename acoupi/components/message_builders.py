"""What is sent about a model's output.

The content of a message is JSON::

    {
      "name_model": "activity",
      "recording": {
        "id": "...",
        "created_on": "2026-06-01T05:00:00Z",
        "duration": 3.0,
        "samplerate": 48000,
        "audio_channels": 1,
        "time_expansion": 1.0,
        "deployment": {"id": "...", "name": "...", "latitude": 51.5, ...}
      },
      "detections": [
        {
          "id": "...",
          "detection_score": 0.9,
          "prediction_type": "event",
          "location": {"type": "BoundingBox", "coordinates": [0.1, 2e3, 0.2, 4e3]},
          "tags": [{"tag": {"key": "sound", "value": "activity"},
                    "confidence_score": 0.9}]
        }
      ]
    }

Where the file is on the sensor is not sent. A message built again from the same output
has the same id, which is what receivers tell repeats by.
"""

from __future__ import annotations

from uuid import UUID, uuid5

from acoupi import data
from acoupi.components.types import MessageBuilder
from acoupi.errors import ConfigurationError

__all__ = ["DetectionThresholdMessageBuilder", "ModelOutputMessageBuilder"]

_NAMESPACE = UUID("7a3b31c5-8a9b-4b8e-9f53-2f7d8b0f7c55")


class ModelOutputMessageBuilder(MessageBuilder):
    """Sends the whole output of a model.

    Parameters
    ----------
    send_empty : bool
        Whether to send outputs without detections, too. Off by default: a sensor in a
        quiet place would send little else.
    """

    def __init__(self, *, send_empty: bool = False) -> None:
        self.send_empty = send_empty

    def build_message(self, model_output: data.ModelOutput) -> data.Message | None:
        """Return the output as a message; None when it has no detections."""
        if not model_output.detections and not self.send_empty:
            return None
        return _to_message(model_output, model_output.detections, "all")


class DetectionThresholdMessageBuilder(MessageBuilder):
    """Sends the detections whose ``detection_score`` reaches a threshold.

    Parameters
    ----------
    detection_threshold : float
        Smallest detection score that is sent, [0, 1]. A detection is sent with all
        its tags, whatever their own scores.

    Raises
    ------
    ConfigurationError
        When the threshold is out of range.
    """

    def __init__(self, detection_threshold: float) -> None:
        if not 0 <= detection_threshold <= 1:
            raise ConfigurationError(
                f"detection_threshold is {detection_threshold}: must be within [0, 1]"
            )
        self.detection_threshold = detection_threshold

    def build_message(self, model_output: data.ModelOutput) -> data.Message | None:
        """Return the detections that reach the threshold; None without any."""
        detections = [
            detection
            for detection in model_output.detections
            if detection.detection_score >= self.detection_threshold
        ]
        if not detections:
            return None
        return _to_message(
            model_output, detections, f"threshold {self.detection_threshold}"
        )


def _to_message(
    output: data.ModelOutput, detections: list[data.Detection], selection: str
) -> data.Message:
    selected = output.model_copy(update={"detections": detections})
    return data.Message(
        id=uuid5(_NAMESPACE, f"{output.recording.id} {output.name_model} {selection}"),
        content=selected.model_dump_json(
            include={"name_model": True, "recording": True, "detections": True},
            exclude={"recording": {"path", "capture"}},
        ),
    )
