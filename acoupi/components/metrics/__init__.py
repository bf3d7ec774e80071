"""The sensor's figures for a monitoring system, as text that Prometheus reads.

`MetricsConfig` says where they are offered, `MetricsEndpoint` offers them and
`exposition_text` writes them. Each name is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acoupi.components.metrics.configuration import MetricsConfig
    from acoupi.components.metrics.endpoint import MetricsEndpoint
    from acoupi.components.metrics.exposition import exposition_text

__all__ = ["MetricsConfig", "MetricsEndpoint", "exposition_text"]

_MODULES = {
    "MetricsConfig": "configuration",
    "MetricsEndpoint": "endpoint",
    "exposition_text": "exposition",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
