"""What a user says about where the figures are offered."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["MetricsConfig"]

_LONGEST_SOCKET = 100
"""Bytes; the kernel takes 107, and a suffix is added while the socket is made."""


class MetricsConfig(BaseModel):
    """Where a monitoring system on this machine finds the sensor's figures.

    There is no way to offer them to the network: they are neither encrypted nor
    behind a password. An agent on the sensor, a proxy or a tunnel can pass them on.
    """

    model_config = ConfigDict(extra="forbid")

    port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="Port on 127.0.0.1, at which Prometheus finds /metrics; empty: "
        "none.",
    )
    socket: Path | None = Field(
        default=None,
        description="Unix socket with the same, for the sensor's user and group; "
        "empty: none.",
    )

    @property
    def wanted(self) -> bool:
        """Whether the figures are offered anywhere."""
        return self.port is not None or self.socket is not None

    @field_validator("socket")
    @classmethod
    def _check_socket(cls, value: Path | None) -> Path | None:
        if value is None:
            return None
        path = value.expanduser()
        if not path.is_absolute() or path.name in {"", ".."}:
            raise ValueError(
                "must be the full path of a socket, as /run/acoupi/metrics.sock"
            )
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            raise ValueError(
                f"must not have more than {_LONGEST_SOCKET} bytes: the system knows no "
                "sockets with longer paths"
            )
        return path
