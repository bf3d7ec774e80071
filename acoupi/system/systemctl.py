"""Talking to systemd: the system's service manager, or the user's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from acoupi.errors import AcoupiError
from acoupi.system.units import TARGET

if TYPE_CHECKING:
    from acoupi.system.settings import Settings

__all__ = ["ServiceError", "ServiceManager", "home_in_unit"]

SYSTEM_UNITS = Path("/etc/systemd/system")
"""Where an administrator's system units are, systemd.unit(5)."""

RUNNING_SYSTEMD = Path("/run/systemd/system")
"""Exists while systemd is the init system, sd_booted(3)."""

_PATIENCE = 120.0
"""Seconds that systemctl may take; stopping waits for running tasks."""

_SILENCE = 3.0
"""Seconds after which it is told what is waited for."""

_REPORT_EVERY = 10.0


class ServiceError(AcoupiError):
    """The sensor's services cannot be started or stopped."""


class ServiceManager:
    """Talks to systemd through ``systemctl``.

    Parameters
    ----------
    system : bool, optional
        The system's manager or the user's own. Default: the system's for root.
    report : callable, optional
        Told now and then what is waited for, when systemd takes its time.
    """

    def __init__(
        self,
        system: bool | None = None,
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.system = os.geteuid() == 0 if system is None else system
        self._report = report

    @property
    def unit_dir(self) -> Path:
        """Where the units are installed."""
        if self.system:
            return SYSTEM_UNITS
        config = os.environ.get("XDG_CONFIG_HOME")
        return (Path(config) if config else Path.home() / ".config") / "systemd/user"

    @property
    def available(self) -> bool:
        """Whether there is a systemd to talk to."""
        return RUNNING_SYSTEMD.is_dir() and shutil.which("systemctl") is not None

    def require(self, settings: Settings) -> None:
        """Raise an error that names the other ways when there is no systemd.

        Raises
        ------
        ServiceError
            When there is none.
        """
        if not self.available:
            raise ServiceError(
                "systemd does not run on this machine: run the sensor in the "
                "foreground with `acoupi run`, or in the background with "
                f"{settings.start_script} and {settings.stop_script}"
            )

    def call(self, *arguments: str) -> str:
        """Run ``systemctl`` and return what it prints.

        Raises
        ------
        ServiceError
            With what systemctl said, when it fails.
        """
        command = self._command(*arguments)
        try:
            with subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=self._environment(),
            ) as running:
                try:
                    printed, complained = self._wait(running)
                except BaseException:
                    running.kill()
                    raise
        except subprocess.TimeoutExpired as error:
            raise ServiceError(
                f"`{' '.join(command)}` did not end within {_PATIENCE:g} s; systemd "
                f"goes on with it{self._under_way()}: see `acoupi status`"
            ) from error
        except OSError as error:
            raise ServiceError(f"systemctl cannot be run: {error.strerror}") from error
        if running.returncode != 0:
            said = (complained or printed).strip() or f"code {running.returncode}"
            raise ServiceError(f"`{' '.join(command)}` failed: {said}")
        return printed

    def _command(self, *arguments: str) -> list[str]:
        return ["systemctl", *([] if self.system else ["--user"]), *arguments]

    def _wait(self, running: subprocess.Popen[str]) -> tuple[str, str]:
        """Return what systemctl printed; say what it waits for until it ends."""
        began = time.monotonic()
        pause = _SILENCE
        while True:
            left = _PATIENCE - (time.monotonic() - began)
            try:
                return running.communicate(timeout=min(pause, left))
            except subprocess.TimeoutExpired:
                if left <= pause:
                    raise
            waited = time.monotonic() - began
            self._report(f"Waiting for systemd, {waited:.0f} s{self._under_way()}")
            pause = _REPORT_EVERY

    def _under_way(self) -> str:
        """Return what systemd has yet to do for the sensor, in brackets."""
        try:
            done = subprocess.run(
                self._command("list-jobs", "--no-legend", "--plain", "acoupi*"),
                check=False,
                capture_output=True,
                text=True,
                timeout=_SILENCE,
                env=self._environment(),
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        # Number, unit, what is to be done with it, and whether that has begun.
        jobs = [line.split() for line in done.stdout.splitlines()]
        shown = [f"{job[1]}: {job[2]}" for job in jobs if len(job) == 4]
        return f" ({', '.join(shown)})" if shown else ""

    def show(self, units: Sequence[str]) -> dict[str, dict[str, str]]:
        """Return state, process, restarts and home of units by name."""
        properties = (
            "Id,ActiveState,SubState,MainPID,NRestarts,ActiveEnterTimestamp,"
            "StateChangeTimestampMonotonic,WorkingDirectory"
        )
        text = self.call("show", f"--property={properties}", *units)
        found: dict[str, dict[str, str]] = {}
        for block in text.strip().split("\n\n"):
            values = dict(
                line.split("=", 1) for line in block.splitlines() if "=" in line
            )
            if "Id" in values:
                found[values["Id"]] = values
        return found

    def is_active(self) -> bool:
        """Tell whether the sensor's target is active."""
        try:
            return self.call("is-active", TARGET).strip() == "active"
        except ServiceError:
            return False

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        if not self.system:
            # A login without a session (su, cron) does not say where the manager is.
            environment.setdefault("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
        return environment


def home_in_unit(unit: Path) -> str | None:
    """Return the home that a unit file was generated for; None if it is not ours."""
    try:
        first = unit.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        return None
    before, generated, rest = first.partition("Generated by acoupi for ")
    if before != "# " or not generated:
        return None
    return rest.removesuffix(": the next start replaces it.")
