"""Record and detect sound events of any kind, without downloaded weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from acoupi.components.models import ActivityConfig
from acoupi.programs.templates import DetectionProgram, DetectionProgramConfiguration

if TYPE_CHECKING:
    from acoupi.components import types

__all__ = ["ActivityConfiguration", "ActivityProgram", "KeepingConfiguration"]


class KeepingConfiguration(BaseModel):
    """Which recordings are kept."""

    without_detections: bool = Field(
        default=False,
        description="Keep recordings in which nothing was detected, too.",
    )


class ActivityConfiguration(DetectionProgramConfiguration):
    """Configuration of a sensor that detects acoustic activity."""

    detector: ActivityConfig = Field(
        default_factory=ActivityConfig,
        description="What counts as acoustic activity.",
    )
    keeping: KeepingConfiguration = Field(
        default_factory=KeepingConfiguration,
        description="Which recordings are kept.",
    )


class ActivityProgram(DetectionProgram[ActivityConfiguration]):
    """Detects sounds that stand out from the background, whatever made them."""

    config_schema = ActivityConfiguration

    def configure_model(self, config: ActivityConfiguration) -> types.Model:
        """Return the detector of acoustic activity."""
        from acoupi.components import ActivityDetector

        return ActivityDetector(config.detector)

    def get_recording_filters(
        self, config: ActivityConfiguration
    ) -> list[types.RecordingSavingFilter]:
        """Return what makes a recording worth keeping: a detection that counts."""
        if config.keeping.without_detections:
            return []
        from acoupi.components import SavingThreshold

        return [SavingThreshold(config.detections.threshold)]
