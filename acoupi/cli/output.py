"""How the command line shows things: tables for people, JSON for machines."""

from __future__ import annotations

import contextlib
import datetime
import json
from typing import TYPE_CHECKING, Any, TypeAlias

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ClockFace", "clock_face", "echo_json", "echo_table", "json_option", "mark"]


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` to a command, as its argument ``as_json``."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, for machines."
    )(function)


def echo_json(value: Any) -> None:
    """Print a value as JSON; what JSON does not know becomes text."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def echo_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows in aligned columns under headings."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [
        max(len(heading), *(len(row[column]) for row in cells), 0)
        for column, heading in enumerate(headings)
    ]
    click.echo(click.style(_line(headings, widths), bold=True))
    for row in cells:
        click.echo(_line(row, widths))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join(padded).rstrip()


def mark(*, good: bool) -> str:
    """Return ``ok`` or ``FAIL``, coloured on a terminal."""
    return click.style("ok  ", fg="green") if good else click.style("FAIL", fg="red")


ClockFace: TypeAlias = "Callable[[str | datetime.datetime | None], str]"
"""Shows a moment, given as ISO 8601 text or as a time, None for now."""


def clock_face(timezone: Any) -> ClockFace:
    """Return what shows moments in the sensor's time zone.

    Parameters
    ----------
    timezone
        IANA name; when it is none that is known, the machine's zone counts.
    """
    import zoneinfo

    zone: datetime.tzinfo | None = None
    if isinstance(timezone, str):
        # An unknown one is told as a problem of its own.
        with contextlib.suppress(zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            zone = zoneinfo.ZoneInfo(timezone)

    def show(moment: str | datetime.datetime | None) -> str:
        if moment is None:
            moment = datetime.datetime.now(datetime.UTC)
        if isinstance(moment, str):
            try:
                moment = datetime.datetime.fromisoformat(moment)
            except ValueError:
                return str(moment)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"

    return show
