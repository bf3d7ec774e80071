"""Secrets of a configuration: stored for the sensor, masked for everybody else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from acoupi.errors import ConfigurationError
from acoupi.system.schemas import leaves_of

if TYPE_CHECKING:
    from acoupi.system.schemas import Key

__all__ = [
    "MASK",
    "SECRET_REFERENCE",
    "dump_config",
    "mask_url_passwords",
    "masked",
    "put_references",
    "resolve_secrets",
    "take_references",
]

MASK = "**********"
"""What is shown in the place of a secret."""

SECRET_REFERENCE = "_secret"  # noqa: S105 - the name of a key, not a secret
"""Key of ``{"_secret": NAME}``: the value is in the systemd credential ``NAME``."""

# To the last @ before the path; beyond a / that belongs to a password, too: no port is
# before that one.
_URL_PASSWORD = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)"
    r"(?:[^/\s]*|[^/@\s:]*:(?!\d+/)[^/\s]*/[^@\s\"']*)@",
    re.IGNORECASE,
)


_URL_KEY = re.compile(
    r"(?P<name>[?&][^=&\s]*(?:key|token|secret|passw|sig|auth|pwd)[^=&\s]*=)[^&#\s\"']+",
    re.IGNORECASE,
)


def mask_url_passwords(text: str) -> str:
    """Return a text with user, password and keys of each URL in it masked."""
    text = _URL_PASSWORD.sub(rf"\g<scheme>{MASK}@", text)
    return _URL_KEY.sub(rf"\g<name>{MASK}", text) if "://" in text else text


def dump_config(config: BaseModel, references: Mapping[Key, str] | None = None) -> str:
    """Return a configuration as JSON text **with its secrets**, for a 0600 file.

    Equal configurations give equal bytes.

    Parameters
    ----------
    config : BaseModel
        The configuration.
    references : mapping, optional
        Names of the credentials that stand for secrets, by path of keys.
    """
    shown = config.model_dump(mode="json", by_alias=True)
    actual = config.model_dump(mode="python", by_alias=True)
    return _as_text(put_references(_reveal(shown, actual), references or {}))


def masked(config: BaseModel | Mapping[str, Any]) -> Any:
    """Return a configuration as plain data that may be shown: secrets are masked.

    Passwords within URLs are masked too.
    """
    if isinstance(config, BaseModel):
        data: Any = config.model_dump(mode="json", by_alias=True)
        for key, field in leaves_of(type(config)):
            if field.secret:
                _replace(data, key)
    else:
        data = config
    return _mask_urls(data)


def _replace(data: Any, key: Key) -> None:
    for part in key[:-1]:
        data = data.get(part) if isinstance(data, dict) else None
    if isinstance(data, dict) and data.get(key[-1]) is not None:
        data[key[-1]] = MASK


def _mask_urls(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _mask_urls(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_mask_urls(value) for value in data]
    return mask_url_passwords(data) if isinstance(data, str) else data


def _reveal(shown: Any, actual: Any) -> Any:
    if isinstance(actual, (SecretStr, SecretBytes, Secret)):
        value = actual.get_secret_value()
        return value.decode() if isinstance(value, bytes) else value
    if isinstance(actual, Mapping) and isinstance(shown, dict):
        pairs = zip(shown.items(), actual.values(), strict=True)
        return {key: _reveal(one, other) for (key, one), other in pairs}
    if isinstance(actual, (list, tuple)) and isinstance(shown, list):
        return [_reveal(*pair) for pair in zip(shown, actual, strict=True)]
    return shown


def _as_text(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def resolve_secrets(data: Any, directory: Path | None = None) -> Any:
    """Replace each ``{"_secret": NAME}`` by the content of the credential ``NAME``.

    Parameters
    ----------
    data : Any
        What was read from a configuration file.
    directory : Path, optional
        Where the credentials are. Default: the one that systemd gives the service
        (environment variable ``CREDENTIALS_DIRECTORY``).

    Raises
    ------
    ConfigurationError
        When a credential is not there.
    """
    if isinstance(data, Mapping):
        if set(data) == {SECRET_REFERENCE}:
            return _read_credential(str(data[SECRET_REFERENCE]), directory)
        return {key: resolve_secrets(value, directory) for key, value in data.items()}
    if isinstance(data, list):
        return [resolve_secrets(value, directory) for value in data]
    return data


def take_references(data: Any) -> tuple[Any, dict[Key, str]]:
    """Put a stand-in for each reference to a credential, so that data validates.

    Returns
    -------
    data, references
        The data, and the name of the credential by the path of keys.
    """
    references: dict[Key, str] = {}

    def visit(value: Any, path: Key) -> Any:
        if isinstance(value, Mapping):
            if set(value) == {SECRET_REFERENCE}:
                references[path] = str(value[SECRET_REFERENCE])
                return MASK
            return {key: visit(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [visit(item, (*path, place)) for place, item in enumerate(value)]
        return value

    return visit(data, ()), references


def put_references(data: Any, references: Mapping[Key, str]) -> Any:
    """Put the references to credentials back in the place of their stand-ins."""
    for path, name in references.items():
        here = data
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = {SECRET_REFERENCE: name}
    return data


def _read_credential(name: str, directory: Path | None) -> str:
    given = os.environ.get("CREDENTIALS_DIRECTORY")
    directory = directory or (Path(given) if given else None)
    if directory is None:
        raise ConfigurationError(
            f"the secret {name!r} is a systemd credential, and this process has none: "
            "run it as the service's unit does"
        )
    if Path(name).name != name:
        raise ConfigurationError(f"{name!r} is not the name of a credential")
    try:
        return (directory / name).read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise ConfigurationError(
            f"the secret {name!r} cannot be read from {directory / name}: "
            f"{error.strerror}"
        ) from error
