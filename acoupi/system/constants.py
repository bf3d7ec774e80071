"""Fixed values of the system, and the configuration of Celery."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from acoupi.system.credentials import MASK

__all__ = ["DEFAULT_PROGRAM", "ENTRY_POINT_GROUP", "CeleryConfig"]

ENTRY_POINT_GROUP = "acoupi.programs"
"""Entry-point group in which packages list their programs."""

DEFAULT_PROGRAM = "acoupi.programs.default"
"""Program that is offered first."""

_BROKER_SCHEMES = (
    "redis://",
    "rediss://",
    "redis+socket://",
    "sentinel://",
    "memory://",
    "amqp://",
    "amqps://",
)


def _has_port(url: str) -> bool:
    try:
        _ = urlsplit(url).port
    except ValueError:
        return False
    return True


class CeleryConfig(BaseModel):
    """How tasks travel and how workers run; the defaults suit one machine."""

    model_config = ConfigDict(extra="forbid")

    broker_url: str | None = Field(
        default=None,
        description="URL of the message broker; empty: an embedded one of our own.",
    )
    pool: Literal["threads", "prefork", "solo"] = Field(
        default="threads",
        description="How a worker runs its tasks; threads need the least memory.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO",
        description="The least important messages to log.",
    )
    timezone: str = Field(
        default="UTC",
        description="Time zone of crontab schedules (IANA name).",
    )
    max_tasks_per_child: int | None = Field(
        default=None,
        ge=1,
        description="Tasks after which a prefork worker's process is replaced.",
    )

    @field_validator("broker_url")
    @classmethod
    def _check_broker_url(cls, value: str | None) -> str | None:
        # A reference to a credential is validated where the credential is read.
        if value is None or value == MASK:
            return value
        # The value may hold a password, so no message repeats it.
        if not value.startswith(_BROKER_SCHEMES):
            raise ValueError(
                "the URL must start with one of " + ", ".join(_BROKER_SCHEMES)
            )
        # Celery takes several, of which it uses one that answers.
        if not all(_has_port(url) for url in value.split(";")):
            raise ValueError(
                "the URL has no valid host and port; in a password, write / as %2F, "
                "@ as %40 and : as %3A"
            )
        return value

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str) -> str:
        import zoneinfo

        try:
            zoneinfo.ZoneInfo(value)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                "must be an IANA time zone, as Europe/London or UTC"
            ) from error
        return value
