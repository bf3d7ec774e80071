"""How arguments of tasks travel: as JSON, never as pickle.

The types of `acoupi.data` are known; a program whose tasks hand on other pydantic
models registers them with `register_type`.
"""

from __future__ import annotations

import base64
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any

from acoupi import data

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["register_data_types", "register_type"]

_DATA_TYPES: tuple[type[BaseModel], ...] = (
    data.TimeInterval,
    data.Deployment,
    data.ClockState,
    data.SampleGap,
    data.CaptureReport,
    data.Recording,
    data.BoundingBox,
    # Before Detection: kombu takes the first registered type that fits.
    data.PresenceDetection,
    data.SequenceDetection,
    data.EventDetection,
    data.Detection,
    data.ModelOutput,
    data.Response,
    data.Metric,
)


def register_type(model: type[BaseModel]) -> None:
    """Let instances of a pydantic model travel as arguments of tasks.

    Parameters
    ----------
    model : type of pydantic.BaseModel
        Register it in the module that defines it, so that every worker knows it.
        A subclass is registered before its base.
    """
    from kombu.utils.json import register_type as register

    register(
        model,
        f"{model.__module__}.{model.__qualname__}",
        lambda value: value.model_dump(mode="json"),
        model.model_validate,
    )


def register_data_types() -> None:
    """Let the types of `acoupi.data` travel as arguments of tasks."""
    from kombu.utils.json import register_type as register

    for model in _DATA_TYPES:
        register_type(model)
    register(data.Message, "acoupi.data.Message", _encode_message, _decode_message)
    register(data.Tag, "acoupi.data.Tag", vars, lambda value: data.Tag(**value))
    register(
        data.PredictedTag,
        "acoupi.data.PredictedTag",
        lambda value: [value.tag.key, value.tag.value, value.confidence_score],
        lambda value: data.PredictedTag(data.Tag(value[0], value[1]), value[2]),
    )
    register(PosixPath, "path", str, lambda value: PosixPath(Path(value)))


def _encode_message(message: data.Message) -> dict[str, Any]:
    content = message.content
    if isinstance(content, bytes):
        return {
            **message.model_dump(mode="json", exclude={"content"}),
            "base64": base64.b64encode(content).decode("ascii"),
        }
    return message.model_dump(mode="json")


def _decode_message(value: dict[str, Any]) -> data.Message:
    encoded = value.pop("base64", None)
    if encoded is not None:
        value["content"] = base64.b64decode(encoded)
    return data.Message.model_validate(value)
