"""Trying the program and its configuration, in a process of its own.

A program is other people's code: importing it can raise, hang, exit or crash. So this
runs apart, as the sensor's user and without writing anything, and reports line by
line: first what it is about to do, then what it found.

Run as ``python -m acoupi.system.doctor.trial HOME LATITUDE LONGITUDE``.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from acoupi.components.places import existing_place
from acoupi.errors import AcoupiError
from acoupi.system.doctor.findings import Finding, error, warning
from acoupi.system.settings import Settings, home_in_environment

if TYPE_CHECKING:
    from pydantic import BaseModel

    from acoupi.programs import AcoupiProgram

__all__ = ["main", "try_out"]

SCHEDULE_DAYS = 8
"""Days ahead in which a sensor is to record at least once."""

_PYTHON = re.compile(r"^readonly python=(.*)$", re.MULTILINE)


def main() -> None:
    """Try the program of a home, and report on what was standard output."""
    home, latitude, longitude = sys.argv[1:]
    # What a program prints must not get between the lines of the report.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as report:
        os.dup2(2, 1)
        place = (float(latitude), float(longitude)) if latitude else None
        try_out(Settings(home), place, lambda line: _tell(report, line))


def _tell(report: TextIO, line: dict[str, Any]) -> None:
    report.write(json.dumps(line) + "\n")
    report.flush()


def try_out(
    settings: Settings,
    place: tuple[float, float] | None,
    tell: Callable[[dict[str, Any]], None],
) -> None:
    """Try the parts one after the other.

    Parameters
    ----------
    settings
        The home.
    place
        Latitude and longitude of the deployment.
    tell
        Takes ``{"step": ...}``, ``{"finding": {...}}`` and ``{"units": ...}``.
    """
    from acoupi.system.credentials import take_references
    from acoupi.system.doctor.sensor import read_json
    from acoupi.system.programs import ProgramError, load_program
    from acoupi.system.validation import validate_config

    def found(finding: Finding) -> None:
        tell({"finding": asdict(finding)})

    name = settings.name_file.read_text(encoding="utf-8").strip()
    tell({"step": f"importing {name}"})
    try:
        program = load_program(name)
        schema: type[BaseModel] = program.get_config_schema()
    except ProgramError as problem:
        missing = "there is no module" in str(problem)
        found(
            error(
                "program-missing" if missing else "program-broken",
                "The program is not installed."
                if missing
                else "The program cannot be loaded.",
                str(problem),
                f"install its package into {sys.prefix}, or choose another program "
                "with `acoupi setup`"
                if missing
                else "mend the program or install another version of its package",
            )
        )
        return
    tell({"step": "validating the configuration"})
    config = None
    try:
        with home_in_environment(settings.home):
            data, _ = take_references(read_json(settings.program_file))
            config = validate_config(schema, data, source=str(settings.program_file))
    except AcoupiError as problem:
        found(
            error(
                "configuration-invalid",
                "The configuration is not valid: the sensor cannot start.",
                str(problem),
                "correct it with `acoupi config set KEY VALUE` or `acoupi config edit`",
            )
        )
    celery = _try_celery(settings, found)
    if config is None or celery is None:
        return
    tell({"step": "comparing the generated files"})
    for finding in _compare(settings, name, program, config, celery):
        found(finding)
    for finding in _try_paths(config):
        found(finding)
    tell({"step": "following the schedule"})
    for finding in _try_schedule(program, config, place):
        found(finding)
    tell({"step": "rendering the units"})
    tell({"units": _render_units(settings, name, program, config, celery)})


def _try_celery(settings: Settings, found: Callable[[Finding], None]) -> Any:
    from acoupi.system.constants import CeleryConfig
    from acoupi.system.credentials import take_references
    from acoupi.system.doctor.sensor import read_json
    from acoupi.system.validation import validate_config

    try:
        data, references = take_references(read_json(settings.celery_file) or {})
        if ("broker_url",) in references:
            # Only the services have it.
            data["broker_url"] = "redis://"
        return validate_config(CeleryConfig, data, source=str(settings.celery_file))
    except AcoupiError as problem:
        found(
            error(
                "celery-invalid",
                "The configuration of the task queue is not valid.",
                str(problem),
                "correct it with `acoupi config set celery.KEY VALUE`",
            )
        )
        return None


def _compare(
    settings: Settings,
    name: str,
    program: type[AcoupiProgram[Any]],
    config: BaseModel,
    celery: Any,
) -> Iterator[Finding]:
    from acoupi.system.setup import home_files

    python = _interpreter(settings)
    if python is not None and not os.access(python, os.X_OK):
        yield error(
            "interpreter-missing",
            "The Python that the sensor was set up with is gone.",
            f"{settings.start_script} starts {python}",
            "run `acoupi setup` with the acoupi that is installed now",
        )
        return
    _, files = home_files(settings, name, program, config, celery, python=python)
    differing = [
        path
        for path, file in files.items()
        if not path.startswith("config/")
        and _content(settings.home / path) not in {None, file.content}
    ]
    if differing:
        yield warning(
            "generated-files-changed",
            "Generated files are not what this version generates.",
            f"{', '.join(differing)} in {settings.home}",
            "run `acoupi setup` again: it replaces them. Changes of your own belong "
            "into a program, see `acoupi setup --help`",
        )


def _interpreter(settings: Settings) -> Path | None:
    import shlex

    match = _PYTHON.search((_content(settings.start_script) or b"").decode())
    words = shlex.split(match[1]) if match else []
    return Path(words[0]) if words else None


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _try_paths(config: BaseModel) -> Iterator[Finding]:
    """Look whether this process' user, which is the sensor's, may write."""
    from acoupi.system.units import writable_paths

    for path in writable_paths(config):
        there = existing_place(path)
        if not os.access(there, os.W_OK | os.X_OK) and not _is_read_only(there):
            yield error(
                "data-not-writable",
                "The sensor may not write where its data goes.",
                f"{there} is not writable for user {os.geteuid()}"
                + ("" if there == path else f", so {path} cannot be made"),
                f"sudo chown {os.geteuid()} {there}, or choose another place with "
                "`acoupi config set paths...`",
            )


def _is_read_only(path: Path) -> bool:
    # That is a finding about the disk.
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _try_schedule(
    program: type[AcoupiProgram[Any]],
    config: BaseModel,
    place: tuple[float, float] | None,
) -> Iterator[Finding]:
    import logging

    from acoupi import data
    from acoupi.components.schedules import Place
    from acoupi.components.schedules.preview import preview

    describe = getattr(program, "get_recording_conditions", None)
    if describe is None:
        return
    logging.disable(logging.WARNING)
    try:
        # Not set up, which would make databases.
        conditions = list(describe(object.__new__(program), config))
        deployment = data.Deployment(
            name="trial",
            latitude=place[0] if place else None,
            longitude=place[1] if place else None,
        )
        for condition in conditions:
            condition.use_deployment(deployment)
        now = data.utc_now()
        windows = preview(conditions, now, now + datetime.timedelta(SCHEDULE_DAYS))
    except AcoupiError as problem:
        yield error(
            "schedule-invalid",
            "The program refuses the schedule: the sensor cannot start.",
            str(problem),
            "correct it with `acoupi config set KEY VALUE` or `acoupi config edit`",
        )
        return
    # Conditions that need the program's set-up tell nothing here.
    except Exception:  # noqa: BLE001 - programs are others' code
        return
    finally:
        logging.disable(logging.NOTSET)
    if not windows:
        yield error(
            "schedule-empty",
            "The sensor will not record at all.",
            f"no hour of the next {SCHEDULE_DAYS} days is within the schedule",
            "see `acoupi schedule preview --days 30`, and change "
            "recording.schedule_start and recording.schedule_end",
        )
    if any(
        isinstance(stands, Place) and stands.origin != "deployment"
        for stands in (getattr(condition, "place", None) for condition in conditions)
    ):
        yield warning(
            "place-unknown",
            "The schedule follows the sun, and where the sensor is is not known.",
            "the deployment has no coordinates; the time zone's own place stands in, "
            "which can be over half an hour off",
            "acoupi deployment end; acoupi deployment start NAME --latitude DEGREES "
            "--longitude DEGREES",
        )


def _render_units(
    settings: Settings,
    name: str,
    program: type[AcoupiProgram[Any]],
    config: BaseModel,
    celery: Any,
) -> dict[str, dict[str, str]]:
    from acoupi.system.configuration import owner_name
    from acoupi.system.units import UnitScope, render_units, writable_paths

    return {
        kind: render_units(
            settings,
            name,
            list(program.get_worker_config().workers),
            UnitScope(kind == "system", owner_name(settings.home)),
            broker_url=celery.broker_url,
            writable=writable_paths(config),
            readable=[Path(path) for path in (sys.prefix, sys.base_prefix, *sys.path)],
        )
        for kind in ("system", "user")
    }


if __name__ == "__main__":
    main()
