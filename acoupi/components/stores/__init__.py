"""Stores: where a sensor's results are kept."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acoupi.components.stores.database import Database
    from acoupi.components.stores.errors import (
        CorruptDatabase,
        DatabaseError,
        DatabaseUnavailable,
        ForeignDatabase,
        NewerSchema,
    )
    from acoupi.components.stores.ledger import StoreCounts
    from acoupi.components.stores.losses import Loss
    from acoupi.components.stores.sqlite import SqliteStore

__all__ = [
    "CorruptDatabase",
    "Database",
    "DatabaseError",
    "DatabaseUnavailable",
    "ForeignDatabase",
    "Loss",
    "NewerSchema",
    "SqliteStore",
    "StoreCounts",
]

_MODULES = {
    "CorruptDatabase": "errors",
    "Database": "database",
    "DatabaseError": "errors",
    "DatabaseUnavailable": "errors",
    "ForeignDatabase": "errors",
    "Loss": "losses",
    "NewerSchema": "errors",
    "SqliteStore": "sqlite",
    "StoreCounts": "ledger",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
