"""The systemd units of a sensor: one process each, and a target for all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.system.catalogue import capabilities_of
from acoupi.system.rendering import (
    STOP_SECONDS,
    command_for_unit,
    render_template,
)

if TYPE_CHECKING:
    from acoupi.programs import AcoupiWorker
    from acoupi.system.settings import Settings

__all__ = ["TARGET", "UnitScope", "render_units", "unit_names", "writable_paths"]

TARGET = "acoupi.target"
"""The unit that stands for the whole sensor."""

_HOMES = ("/home", "/root", "/run/user")
"""What ``ProtectHome=`` hides."""

_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - what ``PrivateTmp=`` hides
"""Emptied at boot, so that a directory in them cannot be named in a unit."""


@dataclass(frozen=True)
class UnitScope:
    """For whom units are: the system, or the user who runs this."""

    system: bool
    user: str
    """Name of the user that the processes run as."""


def unit_names(workers: Sequence[AcoupiWorker], *, embedded_broker: bool) -> list[str]:
    """Return the names of the services of a sensor, in the order of their start."""
    return [
        *(["acoupi-broker.service"] if embedded_broker else []),
        *(f"acoupi-worker-{worker.name}.service" for worker in workers),
        "acoupi-beat.service",
    ]


def render_units(
    settings: Settings,
    program_name: str,
    workers: Sequence[AcoupiWorker],
    scope: UnitScope,
    *,
    broker_url: str | None = None,
    writable: Sequence[Path] = (),
    readable: Sequence[Path] = (),
) -> dict[str, str]:
    """Return the unit files of a sensor by name.

    Parameters
    ----------
    settings : Settings
        The home.
    program_name : str
        Dotted name of the program's module.
    workers : sequence of AcoupiWorker
        The program's workers.
    scope : UnitScope
        System units are confined; a user's own service manager cannot do all of it.
    broker_url : str, optional
        The broker; None is the embedded one, which gets a unit of its own.
    writable : sequence of Path
        Directories that the processes write to, besides the home.
    readable : sequence of Path
        Directories of the interpreter and of its packages.

    Raises
    ------
    ConfigurationError
        When systemd cannot start programs in a home of that name.
    """
    embedded = broker_url is None
    # On a unix socket, no network is needed to reach it.
    local_broker = embedded or (broker_url or "").startswith(("redis+socket:", "unix:"))
    names = unit_names(workers, embedded_broker=embedded)
    directories = [settings.home, *writable]
    if embedded and settings.broker_socket.parent != settings.run_dir:
        directories.append(settings.broker_socket.parent)
    # systemd leaves /dev writable, and what is in memory there is gone after a boot.
    shown = sorted(
        {_base(path) for path in directories if not str(path).startswith("/dev/")}
    )
    shared: dict[str, Any] = {
        "home": str(settings.home),
        "system": scope.system,
        "user": scope.user,
        "embedded_broker": embedded,
        "stop_seconds": STOP_SECONDS + 5,
        "writable": shown,
        "uses_temporary_dirs": any(path in _TEMPORARY for path in shown),
        "uses_home_dirs": any(
            str(path).startswith(_HOMES) for path in (*directories, *readable)
        ),
    }
    units = {
        TARGET: render_template(
            "units/acoupi.target", program=program_name, units=names, **shared
        ),
        "acoupi-beat.service": _service(
            shared,
            role="beat",
            description="Acoustic sensor: schedule",
            command=command_for_unit(settings.beat_script),
            network=not local_broker,
        ),
    }
    for worker in workers:
        capabilities = capabilities_of(worker, workers)
        units[f"acoupi-worker-{worker.name}.service"] = _service(
            shared,
            role="worker",
            description=f"Acoustic sensor: worker {worker.name}",
            command=command_for_unit(settings.start_script, worker.name),
            capabilities=capabilities,
            network="network" in capabilities or not local_broker,
        )
    if embedded:
        units["acoupi-broker.service"] = _service(
            shared,
            role="broker",
            description="Acoustic sensor: task queue",
            command=command_for_unit(settings.start_script, "--broker"),
            network=False,
        )
    return dict(sorted(units.items()))


def _base(path: Path) -> str:
    for temporary in _TEMPORARY:
        if str(path).startswith(f"{temporary}/"):
            return temporary
    return str(path)


def _service(
    shared: dict[str, Any],
    *,
    role: str,
    capabilities: Sequence[str] = (),
    **values: Any,
) -> str:
    return render_template(
        "units/service",
        role=role,
        capabilities=capabilities,
        dedicated_audio=list(capabilities) == ["audio"],
        **shared,
        **values,
    )


def writable_paths(config: Any) -> list[Path]:
    """Return the directories that the paths in a configuration lead to, sorted.

    A path with a suffix is taken as a file, in whose directory databases write
    their journals.
    """
    found: set[Path] = set()
    _collect(config, found)
    return sorted(found)


def _collect(value: Any, found: set[Path]) -> None:
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            _collect(getattr(value, name), found)
    elif isinstance(value, dict):
        for item in value.values():
            _collect(item, found)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            _collect(item, found)
    elif isinstance(value, Path):
        path = Path(os.path.realpath(value.expanduser()))
        is_file = path.is_file() or (path.suffix != "" and not path.is_dir())
        found.add(path.parent if is_file else path)
