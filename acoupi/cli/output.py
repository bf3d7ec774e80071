"""How the command line shows things: tables for people, JSON for machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["echo_json", "echo_table", "json_option", "mark"]


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
