"""Which worker processes run a program's tasks."""

from __future__ import annotations

import re

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["DEFAULT_QUEUE", "DEFAULT_WORKER_CONFIG", "AcoupiWorker", "WorkerConfig"]

DEFAULT_QUEUE = "celery"
"""Queue of tasks that were given none."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class AcoupiWorker(BaseModel):
    """A worker process: the queues it takes tasks from and how many it runs at once."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Name within the program; letters, digits, ``_``, ``.`` and ``-``."""
    queues: list[str] = Field(default_factory=list)
    """Queues it takes from; none means the default queue."""
    concurrency: int | None = Field(default=None, ge=1)
    """Tasks that run at once; None means one."""

    @field_validator("name", "queues")
    @classmethod
    def _check_name(cls, value: str | list[str]) -> str | list[str]:
        # The names become parts of file, unit and host names.
        for name in [value] if isinstance(value, str) else value:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is not a name: use letters, digits, '_', '.' and '-', "
                    "a letter or digit first"
                )
        return value

    @property
    def consumed_queues(self) -> list[str]:
        """The queues it takes from, the default one when none was named."""
        return self.queues or [DEFAULT_QUEUE]


class WorkerConfig(BaseModel):
    """The workers of a program; their names are unique."""

    model_config = ConfigDict(frozen=True)

    workers: list[AcoupiWorker] = Field(min_length=1)

    @field_validator("workers")
    @classmethod
    def _check_unique_names(cls, value: list[AcoupiWorker]) -> list[AcoupiWorker]:
        names = [worker.name for worker in value]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"more than one worker is named {', '.join(doubled)}")
        return value


DEFAULT_WORKER_CONFIG = WorkerConfig(workers=[AcoupiWorker(name="acoupi")])
"""The workers of a program that declares none."""
