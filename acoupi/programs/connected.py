"""Record, keep, and report on the sensor's state by HTTP or MQTT."""

from __future__ import annotations

from acoupi.programs.templates import MessagingProgram, MessagingProgramConfiguration

__all__ = ["ConnectedConfiguration", "ConnectedProgram"]


class ConnectedConfiguration(MessagingProgramConfiguration):
    """Configuration of a sensor that records and reports on itself."""


class ConnectedProgram(MessagingProgram[ConnectedConfiguration]):
    """Records, keeps the recordings, and reports on itself by HTTP or MQTT."""

    config_schema = ConnectedConfiguration
