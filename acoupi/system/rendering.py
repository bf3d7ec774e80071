"""The files that acoupi generates, from its templates."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jinja2

    from acoupi.system.settings import Settings

__all__ = [
    "STOP_SECONDS",
    "command_for_unit",
    "render_home",
    "render_template",
]

STOP_SECONDS = 40
"""Seconds that a process has to end its running tasks before it is killed."""


def render_home(
    settings: Settings,
    workers: Sequence[str],
    *,
    python: Path,
    embedded_broker: bool,
) -> dict[str, str]:
    """Return the generated code of a home, by path within it.

    Parameters
    ----------
    settings : Settings
        The home, as the processes will see it.
    workers : sequence of str
        Names of the program's workers.
    python : Path
        Interpreter that has acoupi and the program installed.
    embedded_broker : bool
        Whether the broker is one of our own.
    """
    values = {
        "home": str(settings.home),
        "python": str(python),
        "workers": list(workers),
        "broker_socket": str(settings.broker_socket) if embedded_broker else None,
        "stop_seconds": STOP_SECONDS,
    }
    names = [
        "app.py",
        "bin/acoupi-beat.sh",
        "bin/acoupi-workers-restart.sh",
        "bin/acoupi-workers-start.sh",
        "bin/acoupi-workers-stop.sh",
    ]
    return {name: render_template(name, **values) for name in names}


def render_template(name: str, **values: Any) -> str:
    """Fill a template of ``acoupi/templates``; a missing value is an error."""
    return _environment().get_template(f"{name}.jinja2").render(values)


def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        # Not PackageLoader: it takes a folder "acoupi" on the path, such as that of a
        # checkout, for the package.
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - scripts and unit files, not HTML
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        # Bash writes the length of a variable as a comment of Jinja's begins.
        comment_start_string="{##",
        comment_end_string="##}",
    )
    environment.filters["quoted"] = shlex.quote
    environment.filters["python_quoted"] = repr
    environment.filters["unit_path"] = _escape_for_unit
    environment.filters["unit_quoted"] = _quote_for_unit
    return environment


def command_for_unit(executable: Path, *arguments: str) -> str:
    """Write a command of a unit file, systemd.service(5).

    Raises
    ------
    ConfigurationError
        When the path of the executable has characters that systemd refuses.
    """
    path = str(executable)
    if any(character in path for character in "\"'\\\n"):
        raise ConfigurationError(
            f"systemd cannot start {path}: choose a home (ACOUPI_HOME) whose path has "
            "no quotes and no backslashes"
        )
    # Variables are expanded in the arguments only.
    words = [path, *(word.replace("$", "$$") for word in arguments)]
    return " ".join(_quote_for_unit(word) for word in words)


def _quote_for_unit(text: str) -> str:
    """Quote a word, systemd.syntax(7)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_escape_for_unit(escaped)}"'


def _escape_for_unit(text: str) -> str:
    """Escape the value of a setting that takes one path, systemd.unit(5)."""
    return text.replace("%", "%%")
