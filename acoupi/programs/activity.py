"""Record and detect sound events of any kind, without downloaded weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from acoupi.components import types
from acoupi.components.models import ActivityConfig
from acoupi.programs.core import NoUserPrompt
from acoupi.programs.templates import (
    DetectionProgram,
    DetectionProgramConfiguration,
    KeepingConfiguration,
)

if TYPE_CHECKING:
    from pathlib import Path

    from acoupi import data

__all__ = ["ActivityConfiguration", "ActivityKeepingConfiguration", "ActivityProgram"]


class ActivityKeepingConfiguration(KeepingConfiguration):
    """Which recordings are kept, and how."""

    without_detections: bool = Field(
        default=False,
        description="Keep recordings in which nothing was detected, too.",
    )


class ActivityConfiguration(DetectionProgramConfiguration):
    """Configuration of a sensor that detects acoustic activity."""

    detector: Annotated[ActivityConfig, NoUserPrompt] = Field(
        default_factory=ActivityConfig,
        description="What counts as acoustic activity.",
    )
    keeping: Annotated[ActivityKeepingConfiguration, NoUserPrompt] = Field(
        default_factory=ActivityKeepingConfiguration,
        description="Which recordings are kept, and how.",
    )


class ActivityProgram(DetectionProgram[ActivityConfiguration]):
    """Detects sounds that stand out from the background, whatever made them."""

    config_schema = ActivityConfiguration

    def configure_model(self, config: ActivityConfiguration) -> types.Model:
        """Return the detector of acoustic activity."""
        from acoupi.components import ActivityDetector

        return ActivityDetector(config.detector)

    def get_file_managers(
        self, config: ActivityConfiguration
    ) -> list[types.RecordingSavingManager]:
        """Return who keeps recordings: those with a detection that counts, or all."""
        managers = super().get_file_managers(config)
        if config.keeping.without_detections:
            managers = [_WhateverWasFound(manager) for manager in managers]
        return managers


class _WhateverWasFound(types.RecordingSavingManager):
    """Keeps a recording as if it had not been analysed."""

    def __init__(self, manager: types.RecordingSavingManager) -> None:
        self._manager = manager
        # What is set aside goes beside what is kept.
        self.dirpath = getattr(manager, "dirpath", None)

    def check(self) -> None:
        self._manager.check()

    def save_recording(
        self,
        recording: data.Recording,
        model_outputs: list[data.ModelOutput] | None = None,  # noqa: ARG002  That is it.
    ) -> Path | None:
        return self._manager.save_recording(recording)
