"""Setting a sensor up: from a program and its configuration to a home."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.errors import AcoupiError
from acoupi.system.configuration import ManagedConfigurationError
from acoupi.system.constants import CeleryConfig
from acoupi.system.credentials import dump_config, take_references
from acoupi.system.parsing import parse_config_from_args
from acoupi.system.programs import load_program
from acoupi.system.rendering import render_home
from acoupi.system.settings import home_in_environment
from acoupi.system.swap import DirectoryBusyError, NewFile, replace_together
from acoupi.system.validation import validate_config

if TYPE_CHECKING:
    from pydantic import BaseModel

    from acoupi.programs import AcoupiProgram
    from acoupi.system.settings import Settings

__all__ = ["SetupError", "home_files", "refuse_when_managed", "setup_program"]

PRIVATE = 0o600
"""Permissions of files that may hold secrets."""

_PUBLIC = 0o644
_EXECUTABLE = 0o755


class SetupError(AcoupiError):
    """A setup failed; the former one is unchanged."""


def setup_program(
    settings: Settings,
    program_name: str,
    program_config: BaseModel | Mapping[str, Any] | None = None,
    celery_config: CeleryConfig | Mapping[str, Any] | None = None,
    *,
    args: Sequence[str] = (),
    prompt: bool = False,
) -> BaseModel:
    """Make a home run a program: all of its generated files, or no change at all.

    Parameters
    ----------
    settings : Settings
        The home.
    program_name : str
        Dotted name of the program's module.
    program_config : BaseModel or mapping, optional
        Its configuration. Default: what `parse_config_from_args` makes of ``args``.
    celery_config : CeleryConfig or mapping, optional
        Broker and workers. Default: the embedded broker.
    args : sequence of str
        Settings as command-line options.
    prompt : bool
        Ask for settings that the options leave open.

    Returns
    -------
    BaseModel
        The program's configuration.

    Raises
    ------
    ConfigurationError
        When the program or a configuration is not valid, the program's own ``setup()``
        fails, or the home is managed by something else.
    SetupError
        When files cannot be written; the home is then as it was.
    """
    refuse_when_managed(settings)
    program = load_program(program_name)
    if program_config is None:
        with home_in_environment(settings.home):
            program_config = parse_config_from_args(
                program.get_config_schema(), args, prompt
            )
    config, files = home_files(
        settings, program_name, program, program_config, celery_config
    )
    _rehearse(settings, program, config, files)
    try:
        replace_together(settings.home, files, {"log": 0o755, "run": 0o700})
    except DirectoryBusyError as error:
        raise SetupError(
            f"another setup of {settings.home} is under way: wait until it has ended"
        ) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise SetupError(
            f"the setup of {settings.home} failed: {error.strerror or error}{where}; "
            "what was set up before is unchanged"
        ) from error
    return config


def _rehearse(
    settings: Settings,
    program: type[AcoupiProgram[Any]],
    config: BaseModel,
    files: Mapping[str, NewFile],
) -> None:
    """Raise an error when the program's own ``setup()`` fails."""
    from acoupi.system.rehearsal import rehearse_setup

    if take_references(json.loads(files["config/program.json"].content))[1]:
        # Only the services have the secrets: a program may rightly refuse stand-ins.
        return
    data, references = take_references(json.loads(files["config/celery.json"].content))
    if references:
        data["broker_url"] = None
    try:
        rehearse_setup(settings, program, config, validate_config(CeleryConfig, data))
    except AcoupiError as error:
        raise type(error)(f"{error}; nothing was changed") from error


def refuse_when_managed(settings: Settings) -> None:
    """Raise an error when the configuration of a home is managed by something else.

    Raises
    ------
    ManagedConfigurationError
        Its message says by what.
    """
    manager = settings.managed_by
    if manager is not None:
        raise ManagedConfigurationError(
            f"the configuration in {settings.home} is managed by "
            f"{manager or 'something else'}: change it there"
        )


def home_files(
    settings: Settings,
    program_name: str,
    program: type[AcoupiProgram[Any]],
    program_config: BaseModel | Mapping[str, Any],
    celery_config: CeleryConfig | Mapping[str, Any] | None = None,
    *,
    python: Path | None = None,
) -> tuple[BaseModel, dict[str, NewFile]]:
    """Return a program's configuration and all generated files of its home.

    Equal input gives equal bytes. Parameters as those of `setup_program`;
    ``python`` is the interpreter that runs the sensor (default: this one).

    Raises
    ------
    InvalidConfigurationError
        When a configuration is not valid.
    """
    with home_in_environment(settings.home):
        config, config_text = _validated(program.get_config_schema(), program_config)
    celery, celery_text = _validated(CeleryConfig, celery_config or CeleryConfig())
    generated = render_home(
        settings,
        [worker.name for worker in program.get_worker_config().workers],
        python=python or Path(os.path.abspath(sys.executable)),  # noqa: PTH100 - a venv's link is not to be followed
        embedded_broker=celery.broker_url is None,
    )
    files = {
        name: NewFile(text.encode(), _EXECUTABLE if name.endswith(".sh") else _PUBLIC)
        for name, text in generated.items()
    }
    files["config/celery.json"] = NewFile(celery_text.encode(), PRIVATE)
    files["config/name"] = NewFile(f"{program_name}\n".encode())
    files["config/program.json"] = NewFile(config_text.encode(), PRIVATE)
    return config, files


def _validated(
    schema: type[BaseModel], given: BaseModel | Mapping[str, Any]
) -> tuple[Any, str]:
    """Return a configuration, and the text from which the same is read again."""
    from pydantic import BaseModel

    if isinstance(given, BaseModel):
        data = json.loads(dump_config(given))
    else:
        data = dict(given)
    data, references = take_references(data)
    config = validate_config(schema, data)
    text = dump_config(config, references)
    # What is stored must be readable; a schema may write what it does not read.
    stored, _ = take_references(json.loads(text))
    validate_config(schema, stored, source="what would be stored")
    return config, text
