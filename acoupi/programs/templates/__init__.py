"""Programs with the usual tasks in place, to be completed by subclasses.

`BasicProgram` records and keeps; `MessagingProgram` sends messages too;
`DetectionProgram` runs a model on every recording. Every part is made by a method of
its own, which a subclass may override.
"""

from __future__ import annotations

from acoupi.programs.templates.basic import BasicProgram
from acoupi.programs.templates.configuration import (
    AudioConfiguration,
    BasicProgramConfiguration,
    DetectionProgramConfiguration,
    DetectionsConfiguration,
    KeepingConfiguration,
    MessagingConfig,
    MessagingProgramConfiguration,
    PathsConfiguration,
    RetentionConfiguration,
)
from acoupi.programs.templates.detection import DetectionProgram
from acoupi.programs.templates.messaging import MessagingProgram

__all__ = [
    "AudioConfiguration",
    "BasicProgram",
    "BasicProgramConfiguration",
    "DetectionProgram",
    "DetectionProgramConfiguration",
    "DetectionsConfiguration",
    "KeepingConfiguration",
    "MessagingConfig",
    "MessagingProgram",
    "MessagingProgramConfiguration",
    "PathsConfiguration",
    "RetentionConfiguration",
]
