"""Acoustic sensors for wildlife: record, detect, store, send; unattended for months.

The sub-packages are loaded on first use, so that ``import acoupi`` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from acoupi import components, data, programs, system, tasks

__all__ = ["components", "data", "programs", "system", "tasks"]

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"acoupi.{name}")
    raise AttributeError(f"module 'acoupi' has no attribute {name!r}")
