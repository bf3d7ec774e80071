"""What every program is made of: tasks, a configuration schema, workers."""

from __future__ import annotations

from acoupi.programs.core.program import AcoupiProgram
from acoupi.programs.core.prompting import NoUserPrompt
from acoupi.programs.core.serialisation import register_type
from acoupi.programs.core.workers import (
    DEFAULT_QUEUE,
    DEFAULT_WORKER_CONFIG,
    AcoupiWorker,
    WorkerConfig,
)

__all__ = [
    "DEFAULT_QUEUE",
    "DEFAULT_WORKER_CONFIG",
    "AcoupiProgram",
    "AcoupiWorker",
    "NoUserPrompt",
    "WorkerConfig",
    "register_type",
]
