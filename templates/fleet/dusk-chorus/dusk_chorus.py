# ruff: noqa: INP001 - a module of its own, not part of a package
"""Record the chorus around dusk, and detect what is active in it."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from acoupi.components import DuskTimeInterval, types
from acoupi.programs.activity import ActivityConfiguration, ActivityProgram

__all__ = ["ChorusConfig", "DuskChorusConfiguration", "DuskChorusProgram"]


class ChorusConfig(BaseModel):
    """When to record."""

    minutes: float = Field(
        default=60, gt=0, le=720, description="Minutes to record around dusk."
    )


class DuskChorusConfiguration(ActivityConfiguration):
    """Configuration of a sensor that listens around dusk."""

    chorus: ChorusConfig = Field(
        default_factory=ChorusConfig, description="When to record."
    )


class DuskChorusProgram(ActivityProgram):
    """Detects acoustic activity around dusk, at the place of the deployment."""

    config_schema = DuskChorusConfiguration

    def get_recording_conditions(
        self, config: DuskChorusConfiguration
    ) -> Sequence[types.RecordingCondition]:
        """Return that it is near dusk."""
        return [DuskTimeInterval(config.chorus.minutes, config.timezone)]
