"""Sensors that tests share, so that not each has to boot and set up one of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from sensor import Sensor


class Shared:
    """The sensor that tests of one kind share, one kind after the other."""

    def __init__(self) -> None:
        self._kind: str | None = None
        self._sensor: Sensor | None = None
        self._running = contextlib.ExitStack()

    def borrow(
        self, kind: str, make: Callable[[], AbstractContextManager[Sensor]]
    ) -> Sensor:
        """Return the sensor of a kind, as the test before left it.

        Parameters
        ----------
        kind : str
            What tells it from others.
        make : callable
            Returns a context in which a new one runs; called unless there is one.
        """
        if kind != self._kind or self._sensor is None:
            self.give_up()
            self._sensor = self._running.enter_context(make())
            self._kind = kind
        return self._sensor

    def give_up(self) -> None:
        """Discard the sensor, if there is one: nobody knows what state it is in."""
        self._kind = self._sensor = None
        self._running.close()
