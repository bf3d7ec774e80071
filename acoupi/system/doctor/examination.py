"""The examination of a sensor: every probe, each bounded in time and on its own."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acoupi.system.doctor.findings import Finding, warning
from acoupi.system.doctor.sensor import Machine, Sensor

if TYPE_CHECKING:
    from acoupi.system.settings import Settings

__all__ = ["PROBES", "Examination", "Probe", "examine", "load_probes"]

Probe = Callable[[Sensor], Iterator[Finding]]
"""Looks at one part of a sensor and yields what is wrong with it; changes nothing."""

PROBES = (
    "home",
    "configuration",
    "processes",
    "units",
    "broker",
    "microphone",
    "disks",
    "databases",
    "messages",
    "clock",
    "board",
)
"""Modules of this package with a function ``probe``, in the order of the report."""

PATIENCE = 40.0
"""Seconds after which a probe that has not ended is a finding of its own."""


@dataclass(frozen=True)
class Examination:
    """The outcome of an examination."""

    findings: tuple[Finding, ...]
    """What is wrong, errors first."""
    probes: tuple[str, ...]
    """What was looked at."""
    seconds: float

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def examine(
    settings: Settings,
    machine: Machine | None = None,
    probes: Mapping[str, Probe] | None = None,
    patience: float = PATIENCE,
) -> Examination:
    """Look for everything that is known to go wrong with a sensor.

    Changes nothing, and opens no device that may be in use. Never raises for what is
    wrong: a probe that fails or hangs is a finding, and the others go on.

    Parameters
    ----------
    settings
        The home.
    machine
        Default: this one.
    probes
        Default: all of `PROBES`.
    patience
        Seconds until the probes that still run are given up.
    """
    began = time.monotonic()
    sensor = Sensor(settings, machine)
    runs = [
        _Run(name, probe, sensor) for name, probe in (probes or load_probes()).items()
    ]
    for run in runs:
        run.start()
    findings: list[Finding] = []
    for run in runs:
        run.join(max(0.0, began + patience - time.monotonic()))
        findings += run.outcome(patience)
    findings.sort(key=lambda finding: finding.severity != "error")
    return Examination(
        tuple(findings),
        tuple(run.name for run in runs),
        round(time.monotonic() - began, 2),
    )


def load_probes() -> dict[str, Probe]:
    """Return the probes of `PROBES`, by name."""
    package = __name__.rpartition(".")[0]
    return {name: importlib.import_module(f"{package}.{name}").probe for name in PROBES}


class _Run(threading.Thread):
    """One probe at work. A daemon: one that hangs must not keep the process."""

    def __init__(self, name: str, probe: Probe, sensor: Sensor) -> None:
        super().__init__(name=name, daemon=True)
        self._probe = probe
        self._sensor = sensor
        self._found: list[Finding] = []

    def run(self) -> None:
        try:
            for finding in self._probe(self._sensor):
                self._found.append(finding)
        # Its own failure must not hide the rest.
        except Exception as error:  # noqa: BLE001 - a probe meets whatever is broken
            self._found.append(
                warning(
                    "probe-failed",
                    f"The examination of the {self.name} failed.",
                    f"{type(error).__name__}: {error}",
                    "look at this part by hand, and report the message: it is a fault "
                    "in acoupi",
                )
            )

    def outcome(self, patience: float) -> list[Finding]:
        """Return what was found, and that the probe hangs when it does."""
        found = list(self._found)
        if self.is_alive():
            found.append(
                warning(
                    "probe-hangs",
                    f"The examination of the {self.name} did not end.",
                    f"no answer within {patience:g} s",
                    "something that it reads hangs: a disk, a network share or a "
                    "service; `dmesg` and `systemctl --failed` may say which",
                )
            )
        return found
