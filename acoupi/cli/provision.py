"""``acoupi provision``: set the sensor up from a file on a card."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["provision"]


@click.command()
@click.argument("partition", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of secrets and of files for the system [default: in the home].",
)
@click.option(
    "--base",
    metavar="FILE",
    help='JSON: "settings" and "celery" that hold where the file says nothing.',
)
@click.option(
    "--also",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Text of what else is wrong, for the report; may be absent.",
)
@click.option(
    "--report", is_flag=True, help="Only write the report again, with what is now."
)
def provision(
    partition: Path,
    state: Path | None,
    base: str | None,
    also: Path | None,
    report: bool,
) -> None:
    """Set the sensor up from acoupi.toml in the directory PARTITION.

    What is wrong in the file is left as it was, and said in acoupi-report.txt beside
    it; the exit code is 0 all the same, because a mistake must not stop a sensor.
    Running services see the change when they are restarted.
    """
    from acoupi.errors import ConfigurationError
    from acoupi.system import Settings
    from acoupi.system.configuration import read_raw_config
    from acoupi.system.provisioning import provision as follow
    from acoupi.system.provisioning import write_report

    settings = Settings()
    if report:
        click.echo(write_report(partition, settings, state=state, also=also), nl=False)
        return
    given = read_raw_config(Path(base)) if base else {}
    if not isinstance(given, dict):
        raise ConfigurationError(f"{base} must hold a JSON object: {{...}}")
    outcome = follow(partition, settings, state=state, base=given, also=also)
    for text in outcome.applied:
        click.echo(text)
    for text in outcome.notes:
        click.echo(f"Note: {text}")
    for problem in outcome.problems:
        click.echo(f"Problem: {problem}", err=True)
