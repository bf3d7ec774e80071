"""Where a destination's passwords and tokens come from, and how they stay hidden."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import SecretStr

__all__ = ["read_secret", "redact", "secrets_from_files"]

_MASK = "**********"
_MAX_SECRET_BYTES = 65536


def secrets_from_files(values: Any, fields: Iterable[str]) -> Any:
    """Turn ``{"_secret": "name"}`` into the name of a systemd credential.

    This is how NixOS settings refer to a secret without holding it. ``values`` is
    the raw configuration; it is returned unchanged when it holds no such reference.
    """
    if not isinstance(values, dict):
        return values
    changed = dict(values)
    for field in fields:
        match changed.get(field):
            case {"_secret": str(name)}:
                del changed[field]
                changed.setdefault(f"{field}_file", name)
    return changed


def read_secret(
    value: SecretStr | None, file: Path | None, key: str
) -> SecretStr | None:
    """Return a secret given directly, in a file, or as a systemd credential.

    Parameters
    ----------
    value
        The secret itself; wins over the file.
    file
        The file that holds it. A name without a slash is a systemd credential: the
        file of that name in ``$CREDENTIALS_DIRECTORY`` (systemd.exec(5)). One line
        end at the end of the file is not part of the secret.
    key
        Name of the configuration field, for error messages.

    Raises
    ------
    ConfigurationError
        When the file cannot be read, or holds nothing. The message never contains
        the content.
    """
    from pydantic import SecretStr

    if value is not None or file is None:
        return value
    path = file.expanduser()
    if not path.is_absolute() and len(path.parts) == 1:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise ConfigurationError(
                f"{key} is {str(file)!r}, the name of a systemd credential, but "
                "$CREDENTIALS_DIRECTORY is not set: give the unit "
                f"LoadCredential={file}:/path/to/the/secret, or set {key} to the "
                "full path of a file"
            )
        path = Path(directory) / path
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_SECRET_BYTES)
        text = content.decode()
    except OSError as error:
        raise ConfigurationError(
            f"{key}: cannot read {path}: {error.strerror or error}; the file must "
            "exist and be readable by the user that runs the sensor"
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{key}: {path} is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ConfigurationError(f"{key}: {path} is empty; it must hold the secret")
    return SecretStr(text)


def redact(text: str, secrets: Iterable[SecretStr | None]) -> str:
    """Return the text with every secret in it masked, also within JSON or URLs."""
    for secret in secrets:
        if secret is not None and (plain := secret.get_secret_value()):
            for form in (plain, json.dumps(plain)[1:-1], quote(plain, safe="")):
                text = text.replace(form, _MASK)
    return text
