"""Models that ship with acoupi; each is loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acoupi.components.models.activity import ActivityConfig, ActivityDetector

__all__ = ["ActivityConfig", "ActivityDetector"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.activity"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
