"""Delivery of messages to other machines, over MQTT or HTTP.

`HTTPConfig` and `MQTTConfig` describe a destination, `HTTPMessenger` and
`MQTTMessenger` deliver to it. Each name is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acoupi.components.messengers.configuration import HTTPConfig, MQTTConfig
    from acoupi.components.messengers.http import HTTPMessenger
    from acoupi.components.messengers.mqtt import MQTTMessenger

__all__ = ["HTTPConfig", "HTTPMessenger", "MQTTConfig", "MQTTMessenger"]

_MODULES = {
    "HTTPConfig": "configuration",
    "MQTTConfig": "configuration",
    "HTTPMessenger": "http",
    "MQTTMessenger": "mqtt",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
