"""``acoupi setup``: choose a program and configure it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from acoupi.system import Settings

__all__ = ["setup"]


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--program", metavar="MODULE", help="Dotted name of the program.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False),
    help="JSON file with the configuration; - reads standard input.",
)
@click.option(
    "--prompt/--no-prompt",
    default=None,
    help="Ask for settings that are not given (default: when run on a terminal).",
)
@click.option("--list", "list_only", is_flag=True, help="List the programs and exit.")
@click.option(
    "--broker-url",
    metavar="URL",
    help="Use this broker rather than an embedded one; - asks for it, hidden.",
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def setup(
    program: str | None,
    config_file: str | None,
    prompt: bool | None,
    list_only: bool,
    broker_url: str | None,
    options: tuple[str, ...],
) -> None:
    """Choose a program and configure it.

    Settings are given as options, with dots for groups, and the rest is asked for.
    Nothing is changed until all of them are valid.

    \b
    acoupi setup
    acoupi setup --program acoupi.programs.default --no-prompt \\
        --microphone.samplerate 48000 --recording.duration 10
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from acoupi.system import (
        CeleryConfig,
        Settings,
        load_program,
        parse_config_from_args,
        setup_program,
    )

    if list_only:
        _list_programs()
        return
    settings = Settings()
    _refuse_managed(settings)
    asks = sys.stdin.isatty() if prompt is None else prompt
    chosen = program or _choose_program(asks=asks)
    schema = load_program(chosen).get_config_schema()
    defaults = _present(settings, chosen, config_file)
    if config_file is not None:
        asks = bool(prompt)
    config = parse_config_from_args(schema, options, prompt=asks, defaults=defaults)
    celery = _celery(settings, CeleryConfig, broker_url)
    setup_program(settings, chosen, config, celery)
    click.echo(f"Set up {chosen} in {settings.home}.")
    click.echo("Check it:  acoupi check")
    click.echo("Start it:  acoupi start   (or in the foreground: acoupi run)")


def _list_programs() -> None:
    from acoupi.cli.output import echo_table
    from acoupi.system import list_programs

    echo_table(
        ("PROGRAM", "FROM", "WHAT IT IS"),
        [
            (
                entry.module,
                entry.distribution or "-",
                f"BROKEN: {entry.problem}" if entry.problem else entry.description,
            )
            for entry in list_programs(load=True)
        ],
    )


def _refuse_managed(settings: Settings) -> None:
    from acoupi.system.configuration import ManagedConfigurationError

    if settings.managed_by is not None:
        raise ManagedConfigurationError(
            f"the configuration of {settings.home} is managed by "
            f"{settings.managed_by}: change it there"
        )


def _choose_program(*, asks: bool) -> str:
    from acoupi.system import list_programs
    from acoupi.system.constants import DEFAULT_PROGRAM

    if not asks:
        names = ", ".join(entry.module for entry in list_programs())
        raise click.UsageError(f"--program is missing. Programs: {names}.")
    _list_programs()
    return str(click.prompt("Program", default=DEFAULT_PROGRAM))


def _present(
    settings: Settings, program: str, config_file: str | None
) -> dict[str, Any] | None:
    """Return the raw settings to start from: a file's, else those set up before."""
    from acoupi.errors import ConfigurationError
    from acoupi.system.configuration import read_program_name, read_raw_config

    if config_file is not None:
        data = _read_json(config_file)
        if not isinstance(data, dict):
            raise ConfigurationError(
                f"{config_file}: the configuration must be a JSON object with one "
                "member for each setting"
            )
        return data
    if not settings.is_set_up or read_program_name(settings) != program:
        return None
    try:
        present = read_raw_config(settings.program_file)
    except ConfigurationError as error:
        # A broken file is no reason to refuse the setup that would mend it.
        click.echo(f"The former configuration is left out: {error}", err=True)
        return None
    return present if isinstance(present, dict) else None


def _read_json(path: str) -> Any:
    import json
    from pathlib import Path

    from acoupi.errors import ConfigurationError
    from acoupi.system.configuration import read_raw_config

    if path != "-":
        return read_raw_config(Path(path))
    try:
        return json.load(sys.stdin)
    except ValueError as error:
        raise ConfigurationError(f"standard input is not valid JSON: {error}") from None


def _celery(settings: Settings, schema: Any, broker_url: str | None) -> Any:
    from acoupi.system.configuration import load_celery_config, read_raw_config
    from acoupi.system.validation import validate_config

    if broker_url is None:
        return load_celery_config(settings)
    if broker_url == "-":
        broker_url = click.prompt("Broker URL", hide_input=True)
    data = (
        read_raw_config(settings.celery_file) if settings.celery_file.exists() else {}
    )
    return validate_config(
        schema, {**data, "broker_url": broker_url}, source="--broker-url"
    )
