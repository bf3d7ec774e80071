"""The program that is set up, as the commands need it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

    from acoupi.programs import AcoupiProgram
    from acoupi.system import Settings

__all__ = ["model_of", "set_up_program"]


def set_up_program(settings: Settings) -> AcoupiProgram[Any]:
    """Return the program that is set up in a home, with its tasks.

    Raises
    ------
    ConfigurationError
        When none is set up, or it or its configuration is not valid.
    """
    from acoupi.system import get_celery_app

    app: Any = get_celery_app(settings)
    program: AcoupiProgram[Any] = app.acoupi_program
    return program


def model_of(
    program: type[AcoupiProgram[Any]], config: BaseModel
) -> tuple[Any, list[Any]]:
    """Return a program's model and its cleaners, without its stores and tasks.

    Raises
    ------
    AcoupiError
        When the program has no model.
    """
    from celery import Celery

    from acoupi.errors import AcoupiError

    app = Celery("acoupi", broker="memory://", set_as_current=False)
    # Without its set-up, which would open stores and make directories: looking at
    # files must not.
    bare: Any = object.__new__(program)
    bare.config = config
    bare.app = app
    bare.logger = logging.getLogger(program.__module__)
    bare.tasks = {}
    if not hasattr(bare, "configure_model"):
        raise AcoupiError(
            f"the program {program.__module__} has no model (no configure_model): "
            "choose one that detects with --program, as acoupi.programs.activity"
        )
    try:
        return _parts_of(bare, config, bare.configure_model(config))
    except AttributeError as error:
        if error.obj is not bare:
            raise
    # Its configure_model needs what its setup makes.
    whole: Any = program(program_config=config, app=app)
    return _parts_of(whole, config, whole.model)


def _parts_of(program: Any, config: BaseModel, model: Any) -> tuple[Any, list[Any]]:
    program.model = model
    describe = getattr(program, "get_output_cleaners", None)
    return model, [] if describe is None else list(describe(config))
