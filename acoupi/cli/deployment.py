"""``acoupi deployment``: where the sensor stands, from when to when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from acoupi.cli.lazy import CommandGroup
from acoupi.cli.output import clock_face, echo_json, json_option

if TYPE_CHECKING:
    from acoupi import data

__all__ = ["deployment"]


@click.group(cls=CommandGroup)
def deployment() -> None:
    """Start and end deployments: a name, a place, a time."""


@deployment.command()
@click.argument("name", required=False)
@click.option("--latitude", type=float, help="Degrees north, -90 to 90.")
@click.option("--longitude", type=float, help="Degrees east, -180 to 180.")
@json_option
def start(
    name: str | None, latitude: float | None, longitude: float | None, as_json: bool
) -> None:
    """Start the deployment NAME. Without options, asks for what is missing.

    Dawn, dusk and other sun times are those of its place.
    """
    from acoupi.system import Settings, start_deployment

    if name is None:
        name = click.prompt("Name of the deployment")
        if latitude is None and longitude is None:
            latitude = _ask("Latitude, degrees north (empty: not known)")
            if latitude is not None:
                longitude = _ask("Longitude, degrees east")
    assert name is not None
    started = start_deployment(Settings(), name, latitude, longitude)
    _show(started, "Started", as_json=as_json)


@deployment.command()
@json_option
def end(as_json: bool) -> None:
    """End the deployment that is under way."""
    from acoupi.system import Settings, end_deployment

    _show(end_deployment(Settings()), "Ended", as_json=as_json)


@deployment.command()
@json_option
def status(as_json: bool) -> None:
    """Show the deployment that is under way, or the last one."""
    from acoupi.system import Settings
    from acoupi.system.deployments import get_last_deployment

    last = get_last_deployment(Settings())
    if last is not None:
        _show(last, "Ended" if last.ended_on else "Under way", as_json=as_json)
    elif as_json:
        echo_json(None)
    else:
        click.echo("There was no deployment yet: acoupi deployment start NAME")


def _ask(question: str) -> float | None:
    while True:
        text = str(click.prompt(question, default="", show_default=False)).strip()
        if not text:
            return None
        try:
            return float(text)
        except ValueError:
            click.echo(f"{text!r} is not a number.", err=True)


def _show(deployment: data.Deployment, state: str, *, as_json: bool) -> None:
    if as_json:
        echo_json(deployment.model_dump(mode="json"))
        return
    place = (
        "no place given"
        if deployment.latitude is None or deployment.longitude is None
        else f"{_degrees(deployment.latitude, 'NS')}, "
        f"{_degrees(deployment.longitude, 'EW')}"
    )
    click.echo(f"{state}: {deployment.name} ({place})")
    show = clock_face(_timezone())
    end = f" to {show(deployment.ended_on)}" if deployment.ended_on else ""
    click.echo(f"from {show(deployment.started_on)}{end}")


def _timezone() -> Any:
    """Return the time zone of the sensor, None when it has none."""
    from acoupi.errors import AcoupiError
    from acoupi.system import Settings
    from acoupi.system.configuration import read_raw_config

    try:
        config = read_raw_config(Settings().program_file)
    except AcoupiError:
        return None
    return config.get("timezone") if isinstance(config, dict) else None


def _degrees(value: float, directions: str) -> str:
    return f"{abs(value):.5f} {directions[value < 0]}"
