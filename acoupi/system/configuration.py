"""Reading the configuration of the program that is set up in a home."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from acoupi.system.constants import CeleryConfig
    from acoupi.system.settings import Settings

__all__ = [
    "ManagedConfigurationError",
    "NotSetUpError",
    "load_celery_config",
    "load_config",
    "owner_name",
    "read_program_name",
    "read_raw_config",
    "refuse_other_owner",
]


class NotSetUpError(ConfigurationError):
    """No program has been set up in this home."""


class ManagedConfigurationError(ConfigurationError):
    """The configuration of this home is managed by something else."""


def read_program_name(settings: Settings) -> str:
    """Return the dotted name of the module of the program that is set up.

    Raises
    ------
    NotSetUpError
        When none is.
    """
    _undo_interrupted_setup(settings)
    try:
        name = settings.name_file.read_text(encoding="utf-8").strip()
    except FileNotFoundError as error:
        raise NotSetUpError(
            f"no program is set up in {settings.home}: run `acoupi setup`, or point "
            "ACOUPI_HOME to the home of a sensor"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"{settings.name_file} cannot be read: {error.strerror}"
        ) from error
    if not name:
        raise NotSetUpError(f"{settings.name_file} is empty: run `acoupi setup` again")
    return name


def _undo_interrupted_setup(settings: Settings) -> None:
    from acoupi.system.swap import recover

    try:
        recover(settings.home)
    except OSError as error:
        raise ConfigurationError(
            f"a setup of {settings.home} was cut short and cannot be undone "
            f"({error.strerror}): run `acoupi setup` as the owner of that directory"
        ) from error


def refuse_other_owner(settings: Settings) -> None:
    """Raise an error when root would leave files in a home of somebody else.

    The sensor, which runs as the owner, could not write to them any more.

    Raises
    ------
    ConfigurationError
        Its message says how to act as the owner.
    """
    import os

    if os.geteuid() != 0 or not settings.home.exists():
        return
    owner = settings.home.stat().st_uid
    if owner != 0:
        raise ConfigurationError(
            f"{settings.home} belongs to {owner_name(settings.home)}: do this as that "
            f"user, with `sudo -u {owner_name(settings.home)} "
            f"ACOUPI_HOME={settings.home} acoupi ...`"
        )


def owner_name(path: Path) -> str:
    """Return the name of the user that a file belongs to, else the number."""
    import pwd

    owner = path.stat().st_uid
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)


def read_raw_config(path: Path) -> Any:
    """Return the data of a JSON file.

    Raises
    ------
    ConfigurationError
        When the file is not there, cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotSetUpError(f"{path} does not exist: run `acoupi setup`") from error
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        where = (
            f"line {error.lineno}, column {error.colno}: {error.msg}"
            if isinstance(error, json.JSONDecodeError)
            else str(error)
        )
        raise ConfigurationError(f"{path} is not valid JSON: {where}") from error


def load_config(settings: Settings) -> BaseModel:
    """Return the configuration of the program that is set up, valid and with secrets.

    Raises
    ------
    ConfigurationError
        When there is none, or it is not valid.
    """
    from acoupi.system.credentials import resolve_secrets, take_references
    from acoupi.system.programs import load_program
    from acoupi.system.settings import home_in_environment
    from acoupi.system.validation import validate_config

    program = load_program(read_program_name(settings))
    data = read_raw_config(settings.program_file)
    schema: type[BaseModel] = program.get_config_schema()
    with home_in_environment(settings.home):
        return validate_config(
            schema,
            resolve_secrets(data),
            source=str(settings.program_file),
            secret_keys=take_references(data)[1],
        )


def load_celery_config(settings: Settings) -> CeleryConfig:
    """Return the configuration of Celery; the default when there is no file of it."""
    from acoupi.system.constants import CeleryConfig
    from acoupi.system.credentials import resolve_secrets, take_references
    from acoupi.system.validation import validate_config

    if not settings.celery_file.exists():
        return CeleryConfig()
    data = read_raw_config(settings.celery_file)
    return validate_config(
        CeleryConfig,
        resolve_secrets(data),
        source=str(settings.celery_file),
        secret_keys=take_references(data)[1],
    )
