"""``acoupi support-bundle``: one file for who helps."""

from __future__ import annotations

from pathlib import Path

import click

from acoupi.cli.output import echo_json, json_option

__all__ = ["support_bundle"]


@click.command("support-bundle")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file to write.  [default: acoupi-support-<time>.tar.gz, here]",
)
@json_option
def support_bundle(output: Path | None, as_json: bool) -> None:
    """Write one file with what somebody needs to help with this sensor.

    Status, findings of the doctor, configuration, versions, services, logs, state of
    the databases, sound cards and the machine; no recordings, and no secrets: they
    are masked. Nothing is sent anywhere, and nothing of the sensor is changed.
    """
    from acoupi.system import Settings
    from acoupi.system.support_bundle import write_support_bundle

    if not as_json:
        click.echo("Looking at the sensor and the machine ...", err=True)
    bundle = write_support_bundle(Settings(), output)
    if as_json:
        echo_json({"path": bundle.path, "size": bundle.size, "files": bundle.names})
        return
    click.echo(
        f"{bundle.path} ({bundle.size / 1000:.0f} kB, {len(bundle.names)} files)\n"
        "Secrets are masked. Look through it before you give it away: it has the "
        "sensor's place and its logs."
    )
