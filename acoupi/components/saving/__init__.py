"""What becomes of recordings: kept in their place, set aside, made room for others."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acoupi.components.saving.filters import HasTag, SavingThreshold
    from acoupi.components.saving.managers import SaveRecordingManager
    from acoupi.components.saving.retention import Retention
    from acoupi.components.saving.setting_aside import SetAsideFolder

__all__ = [
    "HasTag",
    "Retention",
    "SaveRecordingManager",
    "SavingThreshold",
    "SetAsideFolder",
]

_MODULES = {
    "HasTag": "filters",
    "Retention": "retention",
    "SaveRecordingManager": "managers",
    "SavingThreshold": "filters",
    "SetAsideFolder": "setting_aside",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
        value: object = getattr(module, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
