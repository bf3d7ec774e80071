"""Programs: collections of tasks that make a sensor.

`AcoupiProgram` is what every program subclasses; `acoupi.programs.templates` holds
bases with the usual tasks in place; the other modules are programs ready to set up:
`acoupi.programs.default`, `acoupi.programs.connected`, `acoupi.programs.activity` and
`acoupi.programs.custom.test`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acoupi.programs.core import (
        AcoupiProgram,
        AcoupiWorker,
        NoUserPrompt,
        WorkerConfig,
    )

__all__ = ["AcoupiProgram", "AcoupiWorker", "NoUserPrompt", "WorkerConfig"]

_SUBMODULES = {"activity", "connected", "core", "custom", "default", "templates"}


def __getattr__(name: str) -> object:
    if name in __all__:
        value: object = getattr(importlib.import_module(f"{__name__}.core"), name)
        # Kept, so that the next use does not pass here again.
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
