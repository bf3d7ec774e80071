"""Provisioning: a sensor is set up by a file on the partition that any laptop reads.

``acoupi.toml`` says what the sensor is called, which networks it knows, what it runs
and where it stands. It is read at each boot. A mistake never stops the sensor: what is
wrong is left as it was before, and ``acoupi-report.txt`` beside the file says so.

Nothing outside of three directories is written: the partition, the sensor's home, and
the state directory (by default within the home). What the system needs (host name,
networks, keys) is left in the state directory, for its own tools to take from there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acoupi.system.provisioning.boot import provision, write_report

__all__ = ["provision", "write_report"]


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.boot"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
