"""``acoupi status`` and ``acoupi check``: what the sensor does, whether it can."""

from __future__ import annotations

import click

from acoupi.cli.output import echo_json, json_option

__all__ = ["check", "status"]


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show what the sensor is doing: recording, losses, backlog, disk, services."""
    from acoupi.system import Settings
    from acoupi.system import status as describe

    echo_json(describe(Settings()))


@click.command()
@json_option
def check(as_json: bool) -> None:
    """Check that the configured sensor can work, part by part."""
    from acoupi.system import Settings
    from acoupi.system import check as examine

    examine(Settings())
