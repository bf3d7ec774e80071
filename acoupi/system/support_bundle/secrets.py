"""Finding every secret of a sensor, so that none of them is shown.

The program's schema says which settings are secret. Its code is not ours and may
fail or hang, so it is asked in a process of its own::

    python -m acoupi.system.support_bundle.secrets

which prints the secrets of the home in ``ACOUPI_HOME`` as JSON, to a pipe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from acoupi.system.configuration import read_program_name, read_raw_config
from acoupi.system.credentials import SECRET_REFERENCE
from acoupi.system.support_bundle.redaction import SECRET_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acoupi.system.settings import Settings

__all__ = ["find_secrets", "secrets_by_name", "secrets_by_schema"]

_PATIENCE = 30.0
_MAX_BYTES = 65536
_MOST_FILES = 200


def find_secrets(settings: Settings) -> set[str]:
    """Return every secret that can be found without the program's schema.

    Those of the configuration by the names of their keys, of the files and
    credentials that it names, of addresses, of the environment, and those that were
    moved off a card.
    """
    found: set[str] = set()
    for file in (settings.program_file, settings.celery_file):
        try:
            data = read_raw_config(file)
        except Exception:  # noqa: BLE001, S112 - what cannot be read is not shown either
            continue
        found.update(secrets_by_name(data))
    for directory in (
        Path(os.environ["CREDENTIALS_DIRECTORY"])
        if os.environ.get("CREDENTIALS_DIRECTORY")
        else None,
        settings.home / "provision",
    ):
        if directory is not None:
            found.update(_in_directory(directory))
    found.update(
        value for name, value in os.environ.items() if SECRET_NAME.search(name)
    )
    return {text for text in found if text}


def secrets_by_name(data: Any, name: str = "") -> Iterator[str]:
    """Yield the secrets of raw configuration data, going by the keys' names."""
    if isinstance(data, dict):
        if set(data) == {SECRET_REFERENCE}:
            # The name of a credential, which may be any word, is no secret.
            return
        for key, value in data.items():
            # Headers are a group of their own: any may be a secret.
            inner = name if name == "headers" else str(key)
            named = f"{inner} {key}" if inner != key else inner
            yield from secrets_by_name(value, named if name == "headers" else inner)
    elif isinstance(data, list):
        for value in data:
            yield from secrets_by_name(value, name)
    elif isinstance(data, str) and data:
        if name.endswith("_file"):
            if SECRET_NAME.search(name.removesuffix("_file")):
                yield from _in_file(data)
        elif SECRET_NAME.search(name):
            yield data
        yield from _in_address(data)


def _in_address(text: str) -> Iterator[str]:
    if "://" not in text:
        return
    try:
        parts = urlsplit(text)
        password = parts.password
    except ValueError:
        return
    for secret in (password, *(value for _, value in parse_qsl(parts.query))):
        if secret:
            yield secret
            yield unquote(secret)


def _in_file(name: str) -> Iterator[str]:
    path = Path(name).expanduser()
    if not path.is_absolute() and len(path.parts) == 1:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            return
        path = Path(directory) / path
    yield from _content(path)


def _content(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        return
    if text.strip():
        yield text.strip()


def _in_directory(directory: Path) -> Iterator[str]:
    try:
        files = sorted(path for path in directory.rglob("*") if path.is_file())
    except OSError:
        return
    for path in files[:_MOST_FILES]:
        for text in _content(path):
            try:
                data = json.loads(text)
            except ValueError:
                if directory.name != "provision":
                    yield text
            else:
                # The vault holds secrets under labels of its own.
                if path.name == "secrets.json" and isinstance(data, dict):
                    yield from (str(value) for value in data.values())
                yield from secrets_by_name(data)


def secrets_by_schema(settings: Settings) -> set[str] | None:
    """Return the secrets that the program's schema names.

    Returns
    -------
    set of str or None
        None when the program cannot be asked.
    """
    environment = {**os.environ, "ACOUPI_HOME": str(settings.home)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=_PATIENCE,
        )
        # Whatever the program's code prints comes before.
        return set(json.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _print_secrets() -> None:
    from acoupi.system.constants import CeleryConfig
    from acoupi.system.credentials import take_references
    from acoupi.system.programs import load_program
    from acoupi.system.schemas import secrets_in
    from acoupi.system.settings import Settings

    settings = Settings()
    program = load_program(read_program_name(settings))
    found: set[str] = set()
    schemas: dict[Path, Any] = {
        settings.program_file: program.get_config_schema(),
        settings.celery_file: CeleryConfig,
    }
    for file, schema in schemas.items():
        if file.exists():
            data, _ = take_references(read_raw_config(file))
            for texts in secrets_in(schema, data).values():
                found.update(texts)
    sys.stdout.write(f"\n{json.dumps(sorted(found))}\n")


if __name__ == "__main__":
    _print_secrets()
