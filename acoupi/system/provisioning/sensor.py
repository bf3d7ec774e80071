"""The program and the deployment that the file asks for, put into the home."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from acoupi.errors import AcoupiError, ConfigurationError
from acoupi.system.configuration import read_program_name
from acoupi.system.constants import DEFAULT_PROGRAM
from acoupi.system.deployments import (
    end_deployment,
    get_current_deployment,
    start_deployment,
)
from acoupi.system.programs import list_programs, load_program
from acoupi.system.schemas import dotted, fields_of, leaves_of, unknown_keys
from acoupi.system.setup import setup_program
from acoupi.system.validation import InvalidConfigurationError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from acoupi.system.settings import Settings

__all__ = ["Wanted", "deploy", "secret_settings", "set_up"]

_DESTINATIONS = ("mqtt", "http")


@dataclass
class Wanted:
    """What the file says of the program."""

    program: str | None = None
    """Name or dotted module; None: that which is set up, else the default."""
    settings: dict[str, Any] = field(default_factory=dict)
    mqtt: dict[str, Any] = field(default_factory=dict)
    http: dict[str, Any] = field(default_factory=dict)
    timezone: str | None = None

    def __bool__(self) -> bool:
        """Whether the file says anything of the program."""
        return any(map(_says, (self.program, self.settings, self.mqtt, self.http)))

    def as_data(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def secret_settings(settings: Settings, wanted: Wanted) -> list[str]:
    """Return the dotted keys, as in the file, of secrets among the settings.

    Empty when the program is not usable.
    """
    try:
        schema = load_program(_module(settings, wanted.program)).get_config_schema()
    except ConfigurationError:
        return []
    return [
        f"settings.{dotted(key)}" for key, field in leaves_of(schema) if field.secret
    ]


def set_up(
    settings: Settings, wanted: Wanted, base: Mapping[str, Any]
) -> dict[str, Any]:
    """Set the home up; all of it, or no change at all.

    Parameters
    ----------
    settings : Settings
        The home.
    wanted : Wanted
        What the file says.
    base : mapping
        What holds where the file says nothing: ``settings``, ``celery``.

    Returns
    -------
    dict
        ``program``, the module; ``problems``, triples of key, value and message: empty
        when the home is set up.
    """
    module = wanted.program or DEFAULT_PROGRAM
    try:
        module = _module(settings, wanted.program)
        schema = load_program(module).get_config_schema()
    except ConfigurationError as error:
        return {"program": module, "problems": [["program.name", None, str(error)]]}
    problems = [
        [
            name,
            None,
            f"the program {module} sends no messages; 'connected' and 'activity' do",
        ]
        for name in _DESTINATIONS
        if _says(getattr(wanted, name)) and not _has(schema, "messaging", name)
    ]
    if problems:
        return {"program": module, "problems": problems}
    config = _merged(_known(schema, base.get("settings", {})), wanted.settings)
    if wanted.timezone and _has(schema, "timezone"):
        config["timezone"] = wanted.settings.get("timezone", wanted.timezone)
    for name in _DESTINATIONS:
        given = getattr(wanted, name)
        if _says(given):
            config = _merged(config, {"messaging": {name: given}})
    _add_groups(schema, config)
    try:
        setup_program(settings, module, config, base.get("celery"))
    except InvalidConfigurationError as error:
        for problem in error.problems:
            key = _key_in_file(problem.key, wanted)
            problems.append([key, problem.value, problem.message])
    except AcoupiError as error:
        problems.append(["program", None, str(error)])
    return {"program": module, "problems": problems}


def deploy(
    settings: Settings, name: str, latitude: float | None, longitude: float | None
) -> str | None:
    """Start a deployment, ending the one under way; None when all went well."""
    try:
        current = get_current_deployment(settings)
        if current is not None:
            if (current.name, current.latitude, current.longitude) == (
                name,
                latitude,
                longitude,
            ):
                return None
            end_deployment(settings)
        start_deployment(settings, name, latitude, longitude)
    except AcoupiError as error:
        return str(error)
    return None


def _says(value: Any) -> bool:
    """Tell whether there is any value; sections without one say nothing."""
    if isinstance(value, Mapping):
        return any(_says(item) for item in value.values())
    return value is not None


def _module(settings: Settings, name: str | None) -> str:
    if name is None:
        return read_program_name(settings) if settings.is_set_up else DEFAULT_PROGRAM
    short = {entry.name: entry.module for entry in list_programs()}
    return short.get(name, name)


def _has(schema: type[BaseModel], *keys: str) -> bool:
    found: type[BaseModel] | None = schema
    for position, key in enumerate(keys):
        fields = {item.key: item for item in fields_of(found)} if found else {}
        if key not in fields:
            return False
        found = fields[key].group
        if found is None and position < len(keys) - 1:
            return False
    return True


def _known(schema: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what a program does not have: the base is for any program."""
    known = copy.deepcopy(dict(given))
    for unknown in list(unknown_keys(schema, known)):
        here: Any = known
        for part in unknown.key[:-1]:
            here = here[part]
        here.pop(unknown.key[-1], None)
    return known


def _add_groups(schema: type[BaseModel], config: dict[str, Any]) -> None:
    """Add the groups that must be there, whose settings may all have defaults."""
    for item in fields_of(schema):
        if item.group is None or item.optional:
            continue
        if item.required:
            config.setdefault(item.key, {})
        if isinstance(config.get(item.key), dict):
            _add_groups(item.group, config[item.key])


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _key_in_file(key: str, wanted: Wanted) -> str:
    for name in _DESTINATIONS:
        inner = f"messaging.{name}"
        if getattr(wanted, name) and (key == inner or key.startswith(f"{inner}.")):
            return key.removeprefix("messaging.")
    return f"settings.{key}" if key else "settings"
