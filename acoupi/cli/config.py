"""``acoupi config``: show and change the configuration."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acoupi.cli.keys import assignments_in, look_up, merge, refuse_unknown
from acoupi.cli.lazy import CommandGroup
from acoupi.cli.output import echo_json, json_option

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from acoupi.system import Settings
    from acoupi.system.validation import ConfigurationProblem

__all__ = ["config"]

CELERY = "celery"
"""First part of the keys that are about the broker and the workers."""

APPLY = "It counts from the next start on: acoupi restart"


@click.group(cls=CommandGroup)
def config() -> None:
    """Show and change the configuration.

    Keys are dotted, as microphone.samplerate; those of the broker and the workers
    begin with celery, as celery.broker_url.
    """


@config.command("get")
@click.argument("key", required=False)
@json_option
def get_value(key: str | None, as_json: bool) -> None:
    """Show the configuration, or the value of KEY. Secrets are masked."""
    from acoupi.system import Settings

    shown = _shown(Settings())
    value: Any = shown if key is None else look_up(shown, key)
    if as_json or isinstance(value, (dict, list)):
        echo_json(value)
    else:
        click.echo("" if value is None else value)


@config.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("settings", nargs=-1, required=True, metavar="KEY [VALUE]")
def set_value(settings: tuple[str, ...]) -> None:
    """Set KEY to VALUE, or several settings at once: KEY=VALUE KEY=VALUE...

    Several are checked and stored together, or none of them. A secret is never given
    as VALUE, where others could read it: leave it out to be asked, or give - to read
    it from standard input. null empties an optional setting; lists and groups may be
    given as JSON.
    """
    from acoupi.system import Settings
    from acoupi.system.options import parse_options
    from acoupi.system.setup import refuse_when_managed
    from acoupi.system.validation import InvalidConfigurationError

    home = Settings()
    refuse_when_managed(home)
    documents = _documents(home)
    found: list[ConfigurationProblem] = []
    assignments = assignments_in(settings)
    for key, value in assignments:
        schema, inner = _part_of(home, key)
        data, problems = parse_options(
            schema, [f"--{inner}={_given(schema, inner, value)}"]
        )
        found += [_as_setting(one, key) for one in problems]
        if not problems:
            merge(documents[_document_of(key)], data)
    if found:
        raise InvalidConfigurationError(found)
    _store(home, documents)
    _tell([key for key, _ in assignments], "set")


@config.command("unset")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
def unset_value(keys: tuple[str, ...]) -> None:
    """Give each KEY its default value again."""
    from acoupi.system import Settings
    from acoupi.system.setup import refuse_when_managed

    home = Settings()
    refuse_when_managed(home)
    documents = _documents(home)
    for key in keys:
        schema, inner = _part_of(home, key)
        refuse_unknown(schema, inner, key)
        holder: Any = documents[_document_of(key)]
        *above, last = inner.split(".")
        for part in above:
            holder = holder.get(part) if isinstance(holder, dict) else None
        # What is not there, or is below a group that is off, has its default already.
        if isinstance(holder, dict):
            holder.pop(last, None)
    _store(home, documents)
    _tell(list(keys), "back to the default")


@config.command()
@click.option("--celery", is_flag=True, help="Edit the broker's and workers' part.")
def edit(celery: bool) -> None:
    """Edit the configuration in your editor ($VISUAL, $EDITOR).

    It is checked when the editor ends, and stored only when it is valid. The editor
    sees secrets.
    """
    from acoupi.errors import ConfigurationError
    from acoupi.system import Settings
    from acoupi.system.setup import refuse_when_managed

    settings = Settings()
    refuse_when_managed(settings)
    documents = _documents(settings)
    name = CELERY if celery else "program"
    before = json.dumps(documents[name], indent=2, ensure_ascii=False) + "\n"
    text = before
    while True:
        # click makes the temporary file readable for its owner only.
        edited = click.edit(text, extension=".json")
        if edited is None or edited == before:
            click.echo("Nothing was changed.")
            return
        text = edited
        try:
            documents[name] = _parse_object(text, "what you wrote")
            _store(settings, documents)
        except ConfigurationError as error:
            click.echo(f"{click.style('Error:', fg='red')} {error}", err=True)
            if not (sys.stdin.isatty() and click.confirm("Edit again?", default=True)):
                raise ConfigurationError(
                    "the configuration is unchanged: what you wrote is not valid"
                ) from error
        else:
            click.echo(f"The configuration is stored. {APPLY}")
            return


@config.command()
@click.option("--program", metavar="MODULE", help="Of this program (default: set up).")
@click.option("--celery", is_flag=True, help="Of the broker's and workers' part.")
def schema(program: str | None, celery: bool) -> None:
    """Print the JSON schema of the configuration."""
    from acoupi.system import CeleryConfig

    chosen = CeleryConfig if celery else _schema_of(program)
    echo_json(chosen.model_json_schema())


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--program", metavar="MODULE", help="Of this program (default: set up).")
@json_option
@click.pass_context
def validate(
    context: click.Context, file: Path | None, program: str | None, as_json: bool
) -> None:
    """Check the configuration that is set up, or the one in FILE (JSON).

    All that is wrong is shown at once; the exit code is 2 then.
    """
    from acoupi.system import CeleryConfig, Settings
    from acoupi.system.configuration import read_raw_config
    from acoupi.system.credentials import take_references
    from acoupi.system.validation import (
        InvalidConfigurationError,
        find_problems,
    )

    settings = Settings()
    parts: list[tuple[Path, type[BaseModel]]] = [
        (file or settings.program_file, _schema_of(program))
    ]
    if file is None and settings.celery_file.exists():
        parts.append((settings.celery_file, CeleryConfig))
    found = []
    for path, part in parts:
        # A secret kept elsewhere is not there to be read here.
        raw, _ = take_references(read_raw_config(path))
        problems = find_problems(part, raw)
        found += [(path, problem) for problem in problems]
        if problems and not as_json:
            raise InvalidConfigurationError(problems, str(path))
    if as_json:
        echo_json(
            {
                "valid": not found,
                "problems": [
                    {
                        "file": path,
                        "key": problem.key,
                        "value": problem.value,
                        "message": problem.message,
                    }
                    for path, problem in found
                ],
            }
        )
        context.exit(2 if found else 0)
    click.echo(f"{', '.join(str(path) for path, _ in parts)}: valid.")


def _as_setting(problem: ConfigurationProblem, key: str) -> ConfigurationProblem:
    """Return a problem with an option as one with the setting that was named."""
    message = problem.message.replace("no such option", "no such setting")
    return replace(problem, key=key, message=message.replace("--", ""))


def _documents(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the raw data of both files, as they are."""
    from acoupi.system.configuration import read_program_name, read_raw_config

    read_program_name(settings)
    documents = {"program": read_raw_config(settings.program_file)}
    documents[CELERY] = (
        read_raw_config(settings.celery_file) if settings.celery_file.exists() else {}
    )
    return documents


def _store(settings: Settings, documents: Mapping[str, dict[str, Any]]) -> None:
    from acoupi.system import CeleryConfig, setup_program
    from acoupi.system.configuration import read_program_name
    from acoupi.system.credentials import take_references
    from acoupi.system.validation import InvalidConfigurationError, find_problems

    problems = find_problems(CeleryConfig, take_references(documents[CELERY])[0])
    if problems:
        raise InvalidConfigurationError(problems).below(CELERY)
    setup_program(
        settings,
        read_program_name(settings),
        documents["program"],
        documents[CELERY],
    )


def _shown(settings: Settings) -> dict[str, Any]:
    from acoupi.system.configuration import load_celery_config, load_config
    from acoupi.system.credentials import masked

    shown: dict[str, Any] = masked(load_config(settings))
    shown.setdefault(CELERY, masked(load_celery_config(settings)))
    return shown


def _document_of(key: str) -> str:
    return CELERY if key.startswith(f"{CELERY}.") else "program"


def _tell(keys: list[str], state: str) -> None:
    verb = "is" if len(keys) == 1 else "are"
    click.echo(f"{', '.join(keys)} {verb} {state}. {APPLY}")


def _part_of(settings: Settings, key: str) -> tuple[type[BaseModel], str]:
    """Return the schema that a key belongs to, and the key within it."""
    from acoupi.system import CeleryConfig
    from acoupi.system.configuration import read_program_name
    from acoupi.system.programs import load_program

    if key.startswith(f"{CELERY}."):
        return CeleryConfig, key.removeprefix(f"{CELERY}.")
    return load_program(read_program_name(settings)).get_config_schema(), key


def _schema_of(program: str | None) -> type[BaseModel]:
    from acoupi.system import Settings, load_program
    from acoupi.system.configuration import read_program_name

    return load_program(program or read_program_name(Settings())).get_config_schema()


def _given(schema: type[BaseModel], key: str, value: str | None) -> str:
    """Return the value to set: as given, or asked for, or read from standard input."""
    from acoupi.errors import ConfigurationError
    from acoupi.system.schemas import secret_keys

    secret = key in secret_keys(schema)
    if value == "-":
        return sys.stdin.read().rstrip("\n")
    if value is None:
        return str(click.prompt(key, hide_input=secret))
    if secret:
        raise ConfigurationError(
            f"{key} is a secret, and others can read a command's arguments: leave the "
            f"value out to be asked for it, or pipe it: acoupi config set {key} -"
        )
    return value


def _parse_object(text: str, source: str) -> dict[str, Any]:
    from acoupi.errors import ConfigurationError

    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{source} is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise ConfigurationError(f"{source} must be a JSON object: {{...}}")
    return data
