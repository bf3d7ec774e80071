"""The deployment of a sensor: where it stands, from when to when."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from acoupi import data
from acoupi.errors import AcoupiError, ConfigurationError
from acoupi.system.configuration import (
    read_program_name,
    read_raw_config,
    refuse_other_owner,
)
from acoupi.system.files import write_durably

if TYPE_CHECKING:
    from collections.abc import Callable

    from acoupi.programs import AcoupiProgram
    from acoupi.system.settings import Settings

__all__ = [
    "announce_deployment",
    "end_deployment",
    "get_current_deployment",
    "get_last_deployment",
    "start_deployment",
]


def get_last_deployment(settings: Settings) -> data.Deployment | None:
    """Return the deployment that was started last, ended or not; None if there is none.

    Raises
    ------
    ConfigurationError
        When the file that holds it is damaged.
    """
    if not settings.deployment_file.exists():
        return None
    raw = read_raw_config(settings.deployment_file)
    try:
        return data.Deployment.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(
            f"{settings.deployment_file} does not hold a deployment: remove it and "
            "start a new one with `acoupi deployment start`"
        ) from error


def get_current_deployment(settings: Settings) -> data.Deployment | None:
    """Return the deployment that is under way; None when there is none."""
    deployment = get_last_deployment(settings)
    return None if deployment is None or deployment.ended_on else deployment


def start_deployment(
    settings: Settings,
    name: str,
    latitude: float | None = None,
    longitude: float | None = None,
) -> data.Deployment:
    """Start a deployment, and tell the program.

    Parameters
    ----------
    settings : Settings
        The home.
    name : str
        Any name.
    latitude, longitude : float, optional
        Place in degrees, [-90, 90] north and [-180, 180] east.

    Raises
    ------
    ConfigurationError
        When one is under way, no program is set up, or a value is out of range.
    AcoupiError
        When the program refuses; no deployment is started then.
    """
    read_program_name(settings)
    refuse_other_owner(settings)
    current = get_current_deployment(settings)
    if current is not None:
        raise ConfigurationError(
            f"the deployment {current.name!r} is under way since "
            f"{current.started_on:%Y-%m-%d %H:%M} UTC: end it first with "
            "`acoupi deployment end`"
        )
    if (latitude is None) != (longitude is None):
        raise ConfigurationError(
            "a place needs both --latitude and --longitude, or neither"
        )
    if not name.strip():
        raise ConfigurationError("a deployment needs a name")
    try:
        deployment = data.Deployment(
            name=name.strip(), latitude=latitude, longitude=longitude
        )
    except ValidationError as error:
        raise ConfigurationError(_in_words(error)) from error
    _change(settings, deployment, lambda: _program(settings).on_start(deployment))
    settings.run_dir.mkdir(mode=0o700, exist_ok=True)
    write_durably(settings.run_dir / "deployment", _mark(settings, deployment))
    return deployment


def end_deployment(settings: Settings) -> data.Deployment:
    """End the deployment that is under way, and tell the program.

    Raises
    ------
    ConfigurationError
        When none is under way.
    AcoupiError
        When the program refuses; the deployment goes on then.
    """
    refuse_other_owner(settings)
    current = get_current_deployment(settings)
    if current is None:
        raise ConfigurationError(
            "no deployment is under way: start one with `acoupi deployment start NAME`"
        )
    # A clock that was ahead at the start makes no deployment of negative length.
    ended_on = max(data.utc_now(), current.started_on)
    ended = current.model_copy(update={"ended_on": ended_on})
    _change(settings, ended, lambda: _program(settings).on_end(ended))
    return ended


def announce_deployment(settings: Settings, program: AcoupiProgram[Any]) -> bool:
    """Tell a program of the deployment under way, when it was set up after its start.

    Another program, or another configuration, may have another store; a store that was
    found damaged was begun anew. Meant for the start of one of the workers; otherwise
    a deployment is announced once to each set-up.

    Returns
    -------
    bool
        Whether the program was told.
    """
    deployment = get_current_deployment(settings)
    if deployment is None:
        return False
    marker = settings.run_dir / "deployment"
    mark = _mark(settings, deployment)
    told = marker.exists() and marker.read_bytes() == mark
    if told and not _was_forgotten(program, deployment):
        return False
    program.on_start(deployment)
    settings.run_dir.mkdir(mode=0o700, exist_ok=True)
    write_durably(marker, mark)
    return True


def _was_forgotten(program: AcoupiProgram[Any], deployment: data.Deployment) -> bool:
    """Tell whether the program's store lacks a deployment that it was told of."""
    knows = getattr(getattr(program, "store", None), "knows_deployment", None)
    return knows is not None and not knows(deployment)


def _mark(settings: Settings, deployment: data.Deployment) -> bytes:
    configured = b"\0".join(
        (
            str(deployment.id).encode(),
            settings.name_file.read_bytes(),
            settings.program_file.read_bytes(),
        )
    )
    return f"{hashlib.sha256(configured).hexdigest()}\n".encode()


def _program(settings: Settings) -> AcoupiProgram[Any]:
    from acoupi.system.apps import get_celery_app

    app: Any = get_celery_app(settings)
    program: AcoupiProgram[Any] = app.acoupi_program
    return program


def _change(
    settings: Settings, deployment: data.Deployment, tell: Callable[[], None]
) -> None:
    """Write a deployment and tell the program of it: both, or neither."""
    file = settings.deployment_file
    former = file.read_bytes() if file.exists() else None
    try:
        write_durably(file, (deployment.model_dump_json(indent=2) + "\n").encode())
    except OSError as error:
        raise AcoupiError(f"{file} cannot be written: {error.strerror}") from error
    try:
        tell()
    except BaseException as error:
        if former is None:
            file.unlink()
        else:
            write_durably(file, former)
        if isinstance(error, AcoupiError | KeyboardInterrupt):
            raise
        raise AcoupiError(
            f"the program refused: {type(error).__name__}: {error}"
        ) from error


def _in_words(error: ValidationError) -> str:
    return "; ".join(
        f"{details['loc'][0]} = {details['input']}: "
        + details["msg"].replace("Input should be", "must be")
        for details in error.errors()
    )
