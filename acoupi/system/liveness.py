"""Which processes of a sensor run, and who looks after them."""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from acoupi.system.systemctl import ServiceError, ServiceManager, home_in_unit
from acoupi.system.units import TARGET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acoupi.system.settings import Settings

__all__ = [
    "MANY_RESTARTS",
    "Liveness",
    "ProcessState",
    "is_failing",
    "observe_processes",
]

MANY_RESTARTS = 5
"""Restarts of a service that are more than chance."""

_ALIVE = frozenset({"running", "starting", "stopping"})

Keeper = Literal["systemd", "systemd-user", "scripts", "foreground"]


@dataclass(frozen=True)
class ProcessState:
    """One process of a sensor."""

    name: str
    """``broker``, ``beat`` or ``worker-NAME``."""
    state: str
    """``running``, ``starting``, ``stopping``, ``stopped`` or ``failed``."""
    pid: int | None = None
    restarts: int | None = None
    """How often it was restarted; None where nobody counts."""
    seconds: float | None = None
    """For how long it has been in this state; None where nobody notes it."""


@dataclass(frozen=True)
class Liveness:
    """The processes of a sensor."""

    kept_by: Keeper | None
    """Who runs them: None when nobody does."""
    processes: tuple[ProcessState, ...] = ()

    @property
    def running(self) -> bool:
        """Whether any process runs."""
        return any(p.state in _ALIVE for p in self.processes)


def observe_processes(
    settings: Settings, manager: ServiceManager | None = None
) -> Liveness:
    """Find the processes of the sensor of a home."""
    launcher = _launcher_pid(settings)
    if launcher is not None:
        state = ProcessState("launcher", "running", launcher)
        return Liveness("foreground", (state,))
    installed = None
    for candidate in [manager] if manager else _managers():
        found = _services(settings, candidate)
        if found is not None and found.running:
            return found
        installed = installed or found
    by_scripts = _background(settings)
    return by_scripts if by_scripts.running else installed or by_scripts


def _managers() -> list[ServiceManager]:
    # Whoever asks: services of the system are seen by everybody.
    own = ServiceManager()
    return [own] if own.system else [own, ServiceManager(system=True)]


def _services(settings: Settings, manager: ServiceManager) -> Liveness | None:
    if not manager.available:
        return None
    try:
        units = sorted(
            unit.name
            for unit in manager.unit_dir.glob("acoupi-*.service")
            if home_in_unit(unit) == str(settings.home)
        )
    except OSError:
        units = []  # a directory of another, or one that a service may not see
    try:
        units = units or _declared(settings, manager)
        shown = manager.show(units) if units else {}
    except ServiceError:
        return None
    if not units:
        return None
    states = []
    for unit in units:
        values = shown.get(unit, {})
        pid = int(values.get("MainPID") or 0)
        restarts = values.get("NRestarts", "")
        states.append(
            ProcessState(
                unit.removeprefix("acoupi-").removesuffix(".service"),
                _state_of(values),
                pid or None,
                int(restarts) if restarts.isdigit() else None,
                _age(values.get("StateChangeTimestampMonotonic", "")),
            )
        )
    return Liveness("systemd" if manager.system else "systemd-user", tuple(states))


def _declared(settings: Settings, manager: ServiceManager) -> list[str]:
    """Return the services of the home that somebody else wrote, as NixOS does."""
    names = manager.call("show", "--value", "--property=ConsistsOf", TARGET).split()
    if not names:
        return []
    found = manager.show(names)
    home = str(settings.home)
    return sorted(it for it in found if found[it].get("WorkingDirectory") == home)


def is_failing(values: Mapping[str, str]) -> bool:
    """Tell from its properties whether a service of systemd does not stay up."""
    active = values.get("ActiveState")
    if active == "failed" or values.get("SubState") == "auto-restart":
        return True
    # The recorder is started again at once, so that it is hardly ever seen between
    # two attempts.
    restarts = values.get("NRestarts") or "0"
    again = restarts.isdigit() and int(restarts) >= MANY_RESTARTS
    return again and active == "activating"


def _state_of(values: Mapping[str, str]) -> str:
    if is_failing(values):
        return "failed"
    names = {
        "active": "running",
        "reloading": "running",
        "activating": "starting",
        "deactivating": "stopping",
    }
    return names.get(values.get("ActiveState", ""), "stopped")


def _age(microseconds: str) -> float | None:
    """Return how long ago something happened, from systemd's monotonic time."""
    if not microseconds.isdigit() or int(microseconds) == 0:
        return None
    return round(time.monotonic() - int(microseconds) / 1e6, 1)


def _background(settings: Settings) -> Liveness:
    states = []
    for file in sorted(settings.run_dir.glob("*.pid")):
        pid = _read_pid(file)
        alive = pid is not None and _is_role(pid, file.stem, settings)
        states.append(
            ProcessState(
                file.stem, "running" if alive else "stopped", pid if alive else None
            )
        )
    running = any(state.state == "running" for state in states)
    return Liveness("scripts" if running else None, tuple(states))


def _read_pid(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _is_role(pid: int, role: str, settings: Settings) -> bool:
    """Tell whether a process is that role: after a boot a number may be another's."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        directory = Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return False
    command = b" ".join(words).decode(errors="replace")
    if role == "broker":
        home = settings.broker_socket.parent
        named = "redis" in command or "valkey" in command
    else:
        home = settings.home
        named = f"acoupi.system.roles {role.replace('-', ' ', 1)}" in command
    return named and directory == home.resolve()


def _launcher_pid(settings: Settings) -> int | None:
    """Return the process id of the launcher that holds the home's lock."""
    try:
        handle = os.open(settings.run_dir / "launcher.lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(handle, 32).decode(errors="replace").strip()
        return int(text) if text.isdigit() else None
    else:
        return None
    finally:
        os.close(handle)
