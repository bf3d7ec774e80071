"""Factories of task functions: each composes components into one step of a sensor.

A factory takes components and returns a function without arguments (the detection
task takes a recording) that a program registers with
`acoupi.programs.AcoupiProgram.add_task`. Each module is loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from acoupi.tasks.alarm import generate_alarm_task
    from acoupi.tasks.correct_times import generate_clock_correction_task
    from acoupi.tasks.detect import generate_detection_task
    from acoupi.tasks.heartbeat import generate_heartbeat_task
    from acoupi.tasks.keep import generate_file_management_task
    from acoupi.tasks.reconcile import generate_reconcile_task
    from acoupi.tasks.record import generate_recording_task
    from acoupi.tasks.send import generate_send_messages_task
    from acoupi.tasks.summarise import generate_summariser_task

__all__ = [
    "generate_alarm_task",
    "generate_clock_correction_task",
    "generate_detection_task",
    "generate_file_management_task",
    "generate_heartbeat_task",
    "generate_reconcile_task",
    "generate_recording_task",
    "generate_send_messages_task",
    "generate_summariser_task",
]

_MODULE_OF = {
    "generate_alarm_task": "alarm",
    "generate_clock_correction_task": "correct_times",
    "generate_detection_task": "detect",
    "generate_file_management_task": "keep",
    "generate_heartbeat_task": "heartbeat",
    "generate_reconcile_task": "reconcile",
    "generate_recording_task": "record",
    "generate_send_messages_task": "send",
    "generate_summariser_task": "summarise",
}
_SUBMODULES = set(_MODULE_OF.values())


def __getattr__(name: str) -> object:
    if name in _MODULE_OF:
        module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
        value: object = getattr(module, name)
        # Kept, so that the next use does not pass here again.
        globals()[name] = value
        return value
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
