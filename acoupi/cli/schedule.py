"""``acoupi schedule``: when the sensor will record."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import TYPE_CHECKING, Any

import click

from acoupi.cli.lazy import CommandGroup
from acoupi.cli.output import echo_json, json_option

if TYPE_CHECKING:
    from acoupi.system import Settings

__all__ = ["schedule"]


@click.group(cls=CommandGroup)
def schedule() -> None:
    """Show when the sensor will record."""


@schedule.command()
@click.option(
    "--days",
    type=click.IntRange(1, 366),
    default=3,
    show_default=True,
    help="How many days ahead.",
)
@click.option(
    "--from",
    "start",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]),
    help="Beginning, in the sensor's time zone (default: now).",
)
@json_option
def preview(days: int, start: datetime.datetime | None, as_json: bool) -> None:
    """Show when the sensor will record in the next days, at its place.

    Times are those of the sensor's time zone; sun times are those of the deployment's
    coordinates. Conditions that depend on more than time, as free space, are left out.
    """
    from acoupi.cli.programs import set_up_program
    from acoupi.components.schedules.preview import preview as windows_between
    from acoupi.system import Settings

    settings = Settings()
    program = set_up_program(settings)
    conditions, timezone = _conditions(settings, program)
    begin = (
        datetime.datetime.now(timezone).replace(microsecond=0)
        if start is None
        else start.replace(tzinfo=timezone)
    )
    end = begin + datetime.timedelta(days=days)
    stand_ins = _stand_ins(conditions)
    windows = [
        (window[0].astimezone(timezone), window[1].astimezone(timezone))
        for window in windows_between(conditions, begin, end)
    ]
    if as_json:
        echo_json(
            {
                "timezone": str(timezone),
                "start": begin.isoformat(),
                "end": end.isoformat(),
                "windows": [
                    {"start": first.isoformat(), "end": last.isoformat()}
                    for first, last in windows
                ],
                "recorded_share": _recorded_share(program.config),
                "notes": stand_ins,
            }
        )
        return
    click.echo(f"Time zone {timezone}, {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}:")
    total = datetime.timedelta()
    for first, last in windows:
        total += last - first
        day = "" if first.date() == last.date() else f"{last:%a} "
        click.echo(f"  {first:%a %Y-%m-%d %H:%M:%S} to {day}{last:%H:%M:%S}")
    click.echo(
        _summary(total, end - begin, program.config)
        if windows
        else "Does not record at all in that time: look at recording.schedule_start "
        "and recording.schedule_end."
    )
    for note in stand_ins:
        click.echo(f"{click.style('Note:', fg='yellow')} {note}")


def _summary(open_for: datetime.timedelta, period: datetime.timedelta, of: Any) -> str:
    hours = open_for.total_seconds() / 3600
    share = open_for / period
    recorded = _recorded_share(of)
    if recorded == 1:
        return f"Records {hours:.1f} h, {share:.0%} of the time."
    recording = of.recording
    return (
        f"Awake for {hours:.1f} h, {share:.0%} of the time; of every "
        f"{recording.interval:g} s then, {recording.duration:g} s are recorded: "
        f"{hours * recorded:.1f} h of sound, {share * recorded:.0%} of the time."
    )


def _recorded_share(config: Any) -> float:
    """Return which share of the sound is recorded while the conditions hold, (0, 1]."""
    recording = getattr(config, "recording", None)
    duration = getattr(recording, "duration", None)
    interval = getattr(recording, "interval", None)
    if not duration or not interval:
        return 1.0
    return float(min(1.0, duration / interval))


def _stand_ins(conditions: list[Any]) -> list[str]:
    """Say which places stand in for coordinates that the deployment does not have."""
    import logging

    from acoupi.components.schedules import Place, describe_stand_in

    # Said below, so not in the log as well.
    logging.getLogger("acoupi.components.conditions").addHandler(logging.NullHandler())
    notes = [
        describe_stand_in(place, condition.timezone)
        for condition in conditions
        if isinstance(place := getattr(condition, "place", None), Place)
        and place.origin != "deployment"
    ]
    return list(dict.fromkeys(notes))


def _conditions(settings: Settings, program: Any) -> tuple[list[Any], datetime.tzinfo]:
    """Return the program's conditions, seen from its place, and its time zone."""
    from acoupi.errors import AcoupiError

    describe = getattr(program, "get_recording_conditions", None)
    if describe is None:
        raise AcoupiError(
            f"the program {type(program).__module__} tells no recording conditions "
            "(it has no get_recording_conditions), so its schedule is not known"
        )
    conditions = list(describe(program.config))
    deployment = _deployment(settings, program)
    if deployment is not None:
        for condition in conditions:
            condition.use_deployment(deployment)
    name = getattr(program.config, "timezone", None)
    timezone = zoneinfo.ZoneInfo(name) if isinstance(name, str) else datetime.UTC
    return conditions, timezone


def _deployment(settings: Settings, program: Any) -> Any:
    from acoupi.system.deployments import get_current_deployment

    deployment = get_current_deployment(settings)
    if deployment is None and hasattr(program, "store"):
        return program.store.get_current_deployment()
    return deployment
