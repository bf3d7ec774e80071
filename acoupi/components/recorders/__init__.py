"""Recorders: components that make recordings."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acoupi.components.recorders.configuration import MicrophoneConfig
    from acoupi.components.recorders.losses import Loss
    from acoupi.components.recorders.microphone import MicrophoneRecorder

__all__ = ["Loss", "MicrophoneConfig", "MicrophoneRecorder"]

_MODULES = {
    "Loss": "losses",
    "MicrophoneConfig": "configuration",
    "MicrophoneRecorder": "microphone",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
