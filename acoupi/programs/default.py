"""Record on a schedule and keep the recordings; nothing is sent."""

from __future__ import annotations

from acoupi.programs.templates import BasicProgram, BasicProgramConfiguration

__all__ = ["DefaultConfiguration", "DefaultProgram"]


class DefaultConfiguration(BasicProgramConfiguration):
    """Configuration of a sensor that records."""


class DefaultProgram(BasicProgram[DefaultConfiguration]):
    """Records on a schedule and keeps the recordings."""

    config_schema = DefaultConfiguration
