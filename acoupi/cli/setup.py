"""``acoupi setup``: choose a program and configure it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

    from acoupi.system import CeleryConfig, Settings

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
        Settings,
        load_program,
        parse_config_from_args,
        setup_program,
    )
    from acoupi.system.setup import refuse_when_managed

    if list_only:
        _list_programs()
        return
    settings = Settings()
    refuse_when_managed(settings)
    asks = sys.stdin.isatty() if prompt is None else prompt
    chosen = program or _choose_program(asks=asks)
    schema = load_program(chosen).get_config_schema()
    defaults = _present(settings, chosen, schema, config_file)
    if config_file is not None:
        asks = bool(prompt)
    config = parse_config_from_args(schema, options, prompt=asks, defaults=defaults)
    celery = _celery(settings, broker_url)
    setup_program(settings, chosen, config, celery)
    click.echo(f"Set up {chosen} in {settings.home}.")
    _warn_of_the_shell(chosen)
    click.echo("Check it:  acoupi check")
    click.echo("Start it:  acoupi start   (or in the foreground: acoupi run)")


def _warn_of_the_shell(program: str) -> None:
    """Say it when services would not find a program that this shell finds."""
    from acoupi.system.programs import folder_of_the_shell

    folder = folder_of_the_shell(program)
    if folder is not None:
        click.echo(
            f"{click.style('Note:', fg='yellow')} {program} is found through "
            f"PYTHONPATH in {folder}. `acoupi run` in this shell finds it, services "
            "do not: install its package with pip before `acoupi start`.",
            err=True,
        )


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


def _choose_program(*, asks: bool) -> str:
    from acoupi.system import list_programs, load_program
    from acoupi.system.constants import DEFAULT_PROGRAM
    from acoupi.system.programs import ProgramError

    if not asks:
        names = ", ".join(entry.module for entry in list_programs())
        raise click.UsageError(f"--program is missing. Programs: {names}.")
    _list_programs()

    def usable(name: str) -> str:
        try:
            load_program(name.strip())
        except ProgramError as error:
            raise click.UsageError(str(error)) from error
        return name.strip()

    return str(click.prompt("Program", default=DEFAULT_PROGRAM, value_proc=usable))


def _present(
    settings: Settings,
    program: str,
    schema: type[BaseModel],
    config_file: str | None,
) -> dict[str, Any] | None:
    """Return the raw settings to start from: a file's, else those set up before."""
    from acoupi.errors import ConfigurationError
    from acoupi.system.configuration import read_program_name

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
    return _former(settings.program_file, schema)


def _former(path: Path, schema: type[BaseModel]) -> dict[str, Any] | None:
    """Return the raw settings of a file, without what is no use any more.

    A broken file, or one of another version, is no reason to refuse the setup that
    would mend it.
    """
    from acoupi.errors import ConfigurationError
    from acoupi.system.configuration import read_raw_config
    from acoupi.system.schemas import dotted, unknown_keys

    if not path.exists():
        return None
    try:
        former = read_raw_config(path)
    except ConfigurationError as error:
        click.echo(f"The former configuration is left out: {error}", err=True)
        return None
    if not isinstance(former, dict):
        click.echo(
            f"The former configuration is left out: {path} holds no JSON object",
            err=True,
        )
        return None
    for unknown in list(unknown_keys(schema, former)):
        holder: Any = former
        for part in unknown.key[:-1]:
            holder = holder[part]
        del holder[unknown.key[-1]]
        click.echo(
            f"The former setting {dotted(unknown.key)} is left out: there is none of "
            "that name any more",
            err=True,
        )
    return former


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


def _celery(settings: Settings, broker_url: str | None) -> CeleryConfig:
    from acoupi.system import CeleryConfig
    from acoupi.system.credentials import resolve_secrets
    from acoupi.system.validation import validate_config

    data = _former(settings.celery_file, CeleryConfig) or {}
    if broker_url == "-":
        broker_url = click.prompt("Broker URL", hide_input=True)
    if broker_url is not None:
        data["broker_url"] = broker_url
    source = settings.celery_file if broker_url is None else "--broker-url"
    return validate_config(CeleryConfig, resolve_secrets(data), source=str(source))
