"""``acoupi metrics``: the sensor's figures, once."""

from __future__ import annotations

import click

from acoupi.cli.output import echo_json, json_option

__all__ = ["metrics"]


@click.command()
@json_option
def metrics(as_json: bool) -> None:
    """Print the sensor's figures, in the format that Prometheus reads.

    To have them offered to a monitoring system on this machine, give the setting
    metrics.port or metrics.socket.
    """
    from acoupi.components.metrics import exposition_text
    from acoupi.system import Settings
    from acoupi.system.metrics import read_metrics

    found = read_metrics(Settings())
    if as_json:
        echo_json(
            {m.name: {"value": m.value, "unit": m.unit} for m in found},
        )
    else:
        click.echo(exposition_text(found), nl=False)
