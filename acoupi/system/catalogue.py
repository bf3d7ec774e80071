"""What a builder needs to know of programs before anything runs.

`catalogue` describes programs to a system that declares services (workers, schema,
capabilities, secrets); `render` writes a home without running anything. Both are
deterministic and import neither numpy nor a model's runtime.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.errors import ConfigurationError
from acoupi.system.credentials import take_references
from acoupi.system.schemas import dotted, leaves_of, secret_keys
from acoupi.system.validation import (
    ConfigurationProblem,
    InvalidConfigurationError,
    find_problems,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from acoupi.programs import AcoupiProgram, AcoupiWorker
    from acoupi.system.constants import CeleryConfig
    from acoupi.system.settings import Settings

__all__ = ["CATALOGUE_VERSION", "capabilities_of", "catalogue", "render"]

CATALOGUE_VERSION = 1
"""Raised whenever the form of the catalogue changes."""

SHIPPED_PREFIX = "acoupi.programs."
"""Programs whose module begins so are ours."""

_AUDIO_QUEUE = "recording"
_MODEL_QUEUE = "detection"


def catalogue(modules: Sequence[str] | None = None) -> dict[str, Any]:
    """Describe programs as plain data.

    Parameters
    ----------
    modules : sequence of str, optional
        Dotted names of their modules. Default: the programs that ship with acoupi.

    Returns
    -------
    dict
        ``version``, ``celery`` (schema of the Celery configuration) and ``programs``:
        by module, the workers with their capabilities, the schema, the secret keys.
    """
    from acoupi.system.constants import CeleryConfig
    from acoupi.system.programs import list_programs, load_program

    if modules is None:
        modules = [
            entry.module
            for entry in list_programs()
            if entry.module.startswith(SHIPPED_PREFIX)
        ]
    return {
        "version": CATALOGUE_VERSION,
        "celery": CeleryConfig.model_json_schema(),
        "programs": {
            module: _describe(load_program(module)) for module in sorted(modules)
        },
    }


def _describe(program: type[AcoupiProgram[Any]]) -> dict[str, Any]:
    schema = program.get_config_schema()
    workers = program.get_worker_config().workers
    return {
        "schema": schema.model_json_schema(),
        "secrets": secret_keys(schema),
        "workers": [
            {
                "name": worker.name,
                "queues": worker.consumed_queues,
                "concurrency": worker.concurrency,
                "capabilities": capabilities_of(worker, workers),
            }
            for worker in workers
        ],
    }


def capabilities_of(worker: AcoupiWorker, workers: Sequence[AcoupiWorker]) -> list[str]:
    """Return what a worker needs of the machine: ``audio``, ``model``, ``network``.

    A worker of the queue ``recording`` has the microphone and nothing else; one of
    the queue ``detection`` runs a model. In a program without such queues any worker
    may do either.
    """
    queues = set(worker.consumed_queues)
    every = {queue for other in workers for queue in other.consumed_queues}
    found = set()
    if _AUDIO_QUEUE in queues or _AUDIO_QUEUE not in every:
        found.add("audio")
    if _MODEL_QUEUE in queues or (
        _MODEL_QUEUE not in every and queues != {_AUDIO_QUEUE}
    ):
        found.add("model")
    if queues != {_AUDIO_QUEUE}:
        found.add("network")
    return sorted(found)


def render(
    target: Path,
    program_name: str,
    program_config: Mapping[str, Any],
    celery_config: CeleryConfig | Mapping[str, Any] | None = None,
    *,
    home: Path | None = None,
    python: Path | None = None,
    managed_by: str | None = None,
    key_prefix: str | None = None,
    celery_key_prefix: str | None = None,
    literal_secrets: bool = True,
) -> None:
    """Validate a configuration and write the home of a program, running nothing.

    Parameters
    ----------
    target : Path
        Directory to write ``app.py``, ``bin/`` and ``config/`` to; must be empty or
        absent.
    program_name : str
        Dotted name of the program's module.
    program_config : mapping
        Its configuration; ``{"_secret": NAME}`` stands for a systemd credential.
    celery_config : CeleryConfig or mapping, optional
        Broker and workers.
    home : Path, optional
        Where the home will be on the sensor. Default: the target.
    python : Path, optional
        Interpreter on the sensor. Default: this one.
    managed_by : str, optional
        Who manages the configuration: written to ``config/managed``.
    key_prefix : str, optional
        What to write before the program's keys in errors, as
        ``services.acoupi.settings``.
    celery_key_prefix : str, optional
        The same for Celery's keys, as ``services.acoupi.celery``.
    literal_secrets : bool
        Allow secrets that are written out in ``program_config``.

    Raises
    ------
    InvalidConfigurationError
        With everything that is wrong.
    ConfigurationError
        When the target is not empty, or the program is not usable.
    """
    from acoupi.system.programs import load_program
    from acoupi.system.settings import Settings
    from acoupi.system.setup import home_files
    from acoupi.system.swap import NewFile, replace_together

    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigurationError(f"{target} is in the way: name an empty directory")
    program = load_program(program_name)
    settings = Settings(home or target)
    problems = [
        *_below(
            key_prefix,
            _program_problems(settings, program, program_config, literal_secrets),
        ),
        *_below(celery_key_prefix, _celery_problems(celery_config)),
    ]
    if problems:
        raise InvalidConfigurationError(problems)
    _, files = home_files(
        settings,
        program_name,
        program,
        program_config,
        celery_config,
        python=python,
    )
    if managed_by is not None:
        files["config/managed"] = NewFile(f"{managed_by}\n".encode())
    replace_together(target, files)


def _below(
    prefix: str | None, problems: Sequence[ConfigurationProblem]
) -> Sequence[ConfigurationProblem]:
    if not prefix or not problems:
        return problems
    return InvalidConfigurationError(problems).below(prefix).problems


def _program_problems(
    settings: Settings,
    program: type[AcoupiProgram[Any]],
    config: Mapping[str, Any],
    literal_secrets: bool,
) -> list[ConfigurationProblem]:
    from acoupi.system.settings import home_in_environment

    schema = program.get_config_schema()
    with home_in_environment(settings.home):
        found = find_problems(schema, take_references(config)[0])
    return found if literal_secrets else [*found, *_literal_secrets(schema, config)]


def _celery_problems(
    config: CeleryConfig | Mapping[str, Any] | None,
) -> list[ConfigurationProblem]:
    from acoupi.system.constants import CeleryConfig

    if not isinstance(config, Mapping):
        return []
    return find_problems(CeleryConfig, take_references(config)[0])


def _literal_secrets(
    schema: type[BaseModel], config: Mapping[str, Any]
) -> list[ConfigurationProblem]:
    problems = []
    for key, field in leaves_of(schema):
        value: Any = config
        for part in key:
            value = value.get(part) if isinstance(value, Mapping) else None
        if field.secret and isinstance(value, str):
            problems.append(
                ConfigurationProblem(
                    dotted(key),
                    "a secret must not be written here: give "
                    f"{json.dumps({'_secret': 'NAME'})} and the credential NAME",
                )
            )
    return problems
