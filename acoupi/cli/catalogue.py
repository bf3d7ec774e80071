"""``acoupi catalogue`` and ``acoupi render``: for systems that declare services."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from acoupi.cli.output import echo_json

__all__ = ["catalogue", "render"]


@click.command()
@click.argument("programs", nargs=-1, metavar="[MODULE]...")
def catalogue(programs: tuple[str, ...]) -> None:
    """Describe programs, as JSON: workers, schema, capabilities, secret settings.

    Without a MODULE, those that ship with acoupi.
    """
    from acoupi.system.catalogue import catalogue as describe

    echo_json(describe(list(programs) or None))


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--program", required=True, metavar="MODULE", help="Dotted name.")
@click.option(
    "--config",
    "config_file",
    required=True,
    metavar="FILE",
    help="JSON file with the program's configuration; - reads standard input.",
)
@click.option(
    "--celery", "celery_file", metavar="FILE", help="JSON file about the broker."
)
@click.option("--home", type=click.Path(path_type=Path), help="Home on the sensor.")
@click.option("--python", type=click.Path(path_type=Path), help="Interpreter there.")
@click.option("--managed-by", help="Who manages the configuration, in a few words.")
@click.option("--key-prefix", help="What to write before the program's keys in errors.")
@click.option("--celery-key-prefix", help="What to write before Celery's keys.")
@click.option(
    "--refuse-literal-secrets",
    is_flag=True,
    help='Secrets must be references: {"_secret": "NAME"}.',
)
def render(
    target: Path,
    program: str,
    config_file: str,
    celery_file: str | None,
    home: Path | None,
    python: Path | None,
    managed_by: str | None,
    key_prefix: str | None,
    celery_key_prefix: str | None,
    refuse_literal_secrets: bool,
) -> None:
    """Validate a configuration and write a sensor's home to TARGET, running nothing."""
    from acoupi.system.catalogue import render as write_home

    write_home(
        target,
        program,
        _read(config_file),
        None if celery_file is None else _read(celery_file),
        home=home,
        python=python,
        managed_by=managed_by,
        key_prefix=key_prefix,
        celery_key_prefix=celery_key_prefix,
        literal_secrets=not refuse_literal_secrets,
    )


def _read(path: str) -> dict[str, Any]:
    from acoupi.errors import ConfigurationError
    from acoupi.system.configuration import read_raw_config

    if path == "-":
        try:
            data = json.load(sys.stdin)
        except ValueError as error:
            raise ConfigurationError(
                f"standard input is not valid JSON: {error}"
            ) from None
    else:
        data = read_raw_config(Path(path))
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path} must hold a JSON object: {{...}}")
    return data
