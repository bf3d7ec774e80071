"""``acoupi doctor``: what is wrong with the sensor, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from acoupi.cli.output import echo_json, json_option

if TYPE_CHECKING:
    from acoupi.system.doctor import Examination, Finding

__all__ = ["doctor"]

_COLOURS = {"error": "red", "warning": "yellow"}


@click.command()
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Look for what is wrong with the sensor, and say what to do about it.

    Changes nothing, and opens no device that is in use. Exit code 0 when nothing is
    wrong, 1 when something is.
    """
    from acoupi.system import Settings
    from acoupi.system.doctor import examine

    settings = Settings()
    found = examine(settings)
    if as_json:
        echo_json(
            {
                "home": str(settings.home),
                "healthy": found.healthy,
                "findings": [asdict(finding) for finding in found.findings],
                "examined": list(found.probes),
                "seconds": found.seconds,
            }
        )
    else:
        _show(found, str(settings.home))
    context.exit(0 if found.healthy else 1)


def _show(found: Examination, home: str) -> None:
    for finding in found.findings:
        click.echo(_described(finding))
        click.echo()
    count = len(found.findings)
    outcome = (
        "Nothing is wrong"
        if found.healthy
        else "One thing is wrong"
        if count == 1
        else f"{count} things are wrong"
    )
    click.echo(
        f"{outcome} with the sensor in {home}. Looked at: {', '.join(found.probes)} "
        f"({found.seconds:.1f} s)."
    )


def _described(finding: Finding) -> str:
    label = click.style(
        finding.severity.capitalize(), fg=_COLOURS[finding.severity], bold=True
    )
    # Not wrapped: commands in the remedy are to be copied.
    return (
        f"{label}: {finding.what} [{finding.code}]\n"
        f"  Seen: {_indented(finding.evidence)}\n"
        f"  Do:   {_indented(finding.remedy)}"
    )


def _indented(text: str) -> str:
    return text.replace("\n", "\n        ")
