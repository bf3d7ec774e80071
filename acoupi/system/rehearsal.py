"""Trying whether a program can be set up, before anything depends on it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from acoupi.system.apart import run_apart
from acoupi.system.configuration import read_program_name
from acoupi.system.ownership import become_owner_of
from acoupi.system.settings import home_in_environment

if TYPE_CHECKING:
    from pydantic import BaseModel

    from acoupi.programs import AcoupiProgram
    from acoupi.system.constants import CeleryConfig
    from acoupi.system.settings import Settings

__all__ = ["rehearse", "rehearse_setup"]

PATIENCE = 120.0
"""Seconds that a program's ``setup()`` may take: each process of the sensor waits for
it, at every start."""


def rehearse_setup(
    settings: Settings,
    program: type[AcoupiProgram[Any]],
    config: BaseModel,
    celery: CeleryConfig,
) -> None:
    """Set a program up in a process that ends then, as the owner of the home.

    Nothing of the home is read or written, unless the program does so.

    Raises
    ------
    AcoupiError
        What a person should know when the program's ``setup()`` fails.
    """

    def set_up() -> None:
        from acoupi.system.apps import make_app

        with home_in_environment(settings.home):
            make_app(program, config, celery, settings)

    run_apart(
        set_up,
        f"setup() of the program {program.__module__}",
        before=partial(become_owner_of, settings.home),
        patience=PATIENCE,
    )


def rehearse(settings: Settings) -> None:
    """Set the program of a home up, and open its store, in a process that ends then.

    Raises
    ------
    AcoupiError
        What a person should know when the sensor cannot start.
    """

    def set_up() -> None:
        from acoupi.system.apps import get_celery_app

        app: Any = get_celery_app(settings)
        store = getattr(app.acoupi_program, "store", None)
        if store is not None:
            # The first use opens it: a newer schema or a read-only disk shows now.
            store.get_current_deployment()

    run_apart(set_up, f"setup() of the program {read_program_name(settings)}")
