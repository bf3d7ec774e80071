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
    from acoupi.errors import AcoupiError

    # Only what a template's `configure_model` may use: a whole program would open
    # stores and make directories, which looking at files must not.
    bare: Any = object.__new__(program)
    bare.config = config
    bare.logger = logging.getLogger(program.__module__)
    if not hasattr(bare, "configure_model"):
        raise AcoupiError(
            f"the program {program.__module__} has no model (no configure_model): "
            "choose one that detects with --program, as acoupi.programs.activity"
        )
    model = bare.configure_model(config)
    cleaners = (
        bare.get_output_cleaners(config) if hasattr(bare, "get_output_cleaners") else []
    )
    return model, list(cleaners)
