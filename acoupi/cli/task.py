"""``acoupi task``: the program's tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from acoupi.cli.lazy import CommandGroup
from acoupi.cli.output import echo_json, echo_table, json_option

if TYPE_CHECKING:
    from acoupi.programs import AcoupiProgram

__all__ = ["task"]


@click.group(cls=CommandGroup)
def task() -> None:
    """List the program's tasks, or run one now."""


@task.command("list")
@json_option
def list_tasks(as_json: bool) -> None:
    """List the tasks: queue, schedule, what they do."""
    from acoupi.cli.programs import set_up_program
    from acoupi.system import Settings

    program = set_up_program(Settings())
    described = [_describe(program, name) for name in program.tasks]
    if as_json:
        echo_json(described)
        return
    echo_table(
        ("TASK", "QUEUE", "SCHEDULE", "WHAT IT DOES"),
        [
            (entry["name"], entry["queue"], entry["schedule"] or "-", entry["help"])
            for entry in described
        ],
    )


@task.command("run")
@click.argument("name")
@click.option(
    "--here",
    is_flag=True,
    help="Run it in this process and wait, rather than in the running sensor.",
)
@click.option(
    "--recording",
    "recording_id",
    type=click.UUID,
    help="Hand it this recording of the store, as detection_task needs.",
)
@json_option
def run_task(name: str, here: bool, recording_id: Any, as_json: bool) -> None:
    """Run the task NAME now: in the running sensor, or --here."""
    from acoupi.cli.programs import set_up_program
    from acoupi.errors import AcoupiError
    from acoupi.system import Settings

    settings = Settings()
    program = set_up_program(settings)
    chosen = _find(program, name)
    arguments = () if recording_id is None else (_recording(program, recording_id),)
    if here:
        try:
            chosen.run(*arguments)
        except AcoupiError:
            raise
        except (Exception, SystemExit) as error:
            raise AcoupiError(
                f"task {name} failed: {type(error).__name__}: {error}"
            ) from error
        done = f"{name} ran here."
    else:
        _queue(chosen, arguments, name)
        done = f"{name} is queued; its log is in {settings.log_dir}."
    if as_json:
        echo_json({"task": name, "ran": here, "queued": not here})
    else:
        click.echo(done)


def _describe(program: AcoupiProgram[Any], name: str) -> dict[str, Any]:
    scheduled = (program.app.conf.beat_schedule or {}).get(name)
    routes = program.app.conf.task_routes or {}
    documentation = (program.tasks[name].__doc__ or "").strip()
    return {
        "name": name,
        "queue": routes.get(name, {}).get("queue", "celery"),
        "schedule": None if scheduled is None else _in_words(scheduled["schedule"]),
        "help": documentation.splitlines()[0] if documentation else "",
    }


def _in_words(schedule: Any) -> str:
    import datetime

    if isinstance(schedule, datetime.timedelta):
        schedule = schedule.total_seconds()
    if isinstance(schedule, int | float):
        return f"every {schedule:g} s"
    return str(schedule)


def _find(program: AcoupiProgram[Any], name: str) -> Any:
    import difflib

    from acoupi.errors import ConfigurationError

    if name in program.tasks:
        return program.tasks[name]
    close = difflib.get_close_matches(name, program.tasks, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else ""
    raise ConfigurationError(
        f"there is no task {name!r}; {hint or 'tasks: ' + ', '.join(program.tasks)}"
    )


def _recording(program: AcoupiProgram[Any], recording_id: Any) -> Any:
    from acoupi.errors import AcoupiError, ConfigurationError

    store = getattr(program, "store", None)
    if store is None:
        raise AcoupiError("the program has no store to take a recording from")
    found = store.get_recordings(ids=[recording_id])
    if not found:
        raise ConfigurationError(f"--recording: the store has none {recording_id}")
    return found[0][0]


def _queue(chosen: Any, arguments: tuple[Any, ...], name: str) -> None:
    from acoupi.errors import AcoupiError
    from acoupi.system.credentials import mask_url_passwords

    try:
        chosen.apply_async(arguments, retry=False)
    except Exception as error:
        url = mask_url_passwords(str(chosen.app.conf.broker_url))
        raise AcoupiError(
            f"no broker answers at {url}, so {name} was not queued: start the sensor "
            "(acoupi start, or acoupi run), or run the task here with --here"
        ) from error
