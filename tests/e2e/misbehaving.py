"""A program that does what it is told to do wrong; installed on machines of the tests.

``/run/fault`` holds a place and a fault: ``run raise``. The places are ``import``,
``setup``, and of the worker that has the model ``start``, ``load``, ``run`` and
``stop``. Without the file it works as `acoupi.programs.activity`.
"""

from __future__ import annotations

import ctypes
import os
import re
import time
from pathlib import Path

from acoupi.components import types
from acoupi.components.models import ActivityDetector
from acoupi.programs.activity import ActivityProgram

FAULT = Path("/run/fault")

FILLER = "filler"
"""Name of the file, beside the database, that fills the disk."""

TASK_LIMIT = 8
"""Seconds after which a task counts as hung; a real program has half an hour."""

LEAK, MOST_LEAKED = 10_000_000, 1_000_000_000
"""Bytes that a leaking model takes at a time, and in all."""

held = []


def misbehave(place: str, data: Path | None = None) -> None:
    """Do what is wrong at this place."""
    try:
        wanted, fault = FAULT.read_text().split()
    except OSError:
        return
    if wanted == place:
        FAULTS[fault](data)


def _raise(_: Path | None) -> None:
    raise RuntimeError("this program is broken")


def _exit(_: Path | None) -> None:
    raise SystemExit(7)


def _vanish(_: Path | None) -> None:
    os._exit(7)


def _crash(_: Path | None) -> None:
    ctypes.string_at(0)


def _hang(_: Path | None) -> None:
    while True:
        time.sleep(3600)


def _spin(_: Path | None) -> None:
    # In C, without letting other threads run.
    re.match(r"(a|a)*b", "a" * 99)


def _fork(_: Path | None) -> None:
    for _ in range(20):
        if os.fork() == 0:
            time.sleep(3600)
            os._exit(0)


def _open(_: Path | None) -> None:
    # Until there are no more descriptors.
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))


def _leak(_: Path | None) -> None:
    # A bit at a time, and more than the tests allow it; no more than machines have.
    for _ in range(MOST_LEAKED // LEAK):
        held.append(b"x" * LEAK)
        time.sleep(0.01)


def _fill(data: Path | None) -> None:
    with (data / FILLER).open("ab", buffering=0) as file:
        while True:
            file.write(b"\0" * 2**16)


FAULTS = {
    "raise": _raise,
    "exit": _exit,
    "vanish": _vanish,
    "crash": _crash,
    "hang": _hang,
    "spin": _spin,
    "fork": _fork,
    "open": _open,
    "fill": _fill,
    "leak": _leak,
}


class MisbehavingModel(types.Model):
    name = "misbehaving"

    def __init__(self, config, data):
        self._config = config
        self._data = data
        self._detector = None

    def run(self, recording):
        if self._detector is None:
            misbehave("load", self._data)
            self._detector = ActivityDetector(self._config)
        misbehave("run", self._data)
        output = self._detector.run(recording)
        return output.model_copy(update={"name_model": self.name})


class MisbehavingProgram(ActivityProgram):
    def setup(self, config):
        misbehave("setup")
        super().setup(config)
        self.app.conf.task_time_limit = TASK_LIMIT

    def configure_model(self, config):
        return MisbehavingModel(config.detector, config.paths.db_metadata.parent)

    def worker_started(self, queues):
        super().worker_started(queues)
        if "detection" in queues:
            misbehave("start")

    def worker_stopping(self, queues):
        if "detection" in queues:
            misbehave("stop")
        super().worker_stopping(queues)


misbehave("import")
