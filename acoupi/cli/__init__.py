"""The command line: ``acoupi``.

One module a group of commands; each is imported when its command is called, so that
``acoupi --help`` needs click only.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from acoupi.cli.lazy import LazyGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cli", "main"]

TRACEBACK_VARIABLE = "ACOUPI_TRACEBACK"
"""Set to 1, it makes unexpected errors show their traceback."""

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT."""

_COMMANDS = {
    "setup": ("setup:setup", "Choose a program and configure it."),
    "run": ("run:run", "Run the sensor in the foreground; --demo needs no setup."),
    "start": ("services:start", "Start the sensor's services, now and at boot."),
    "stop": ("services:stop", "Stop the sensor's services, now and at boot."),
    "restart": ("services:restart", "Restart the sensor's services."),
    "status": ("status:status", "Show what the sensor is doing."),
    "check": ("status:check", "Check that the configured sensor can work."),
    "metrics": ("metrics:metrics", "Print the sensor's figures, for monitoring."),
    "doctor": ("doctor:doctor", "Say what is wrong with the sensor, and the remedy."),
    "support-bundle": (
        "support_bundle:support_bundle",
        "Write one file for who helps, without secrets.",
    ),
    "config": ("config:config", "Show and change the configuration."),
    "deployment": ("deployment:deployment", "Start and end deployments."),
    "task": ("task:task", "List tasks, or run one now."),
    "devices": ("devices:devices", "List the microphones."),
    "schedule": ("schedule:schedule", "Show when the sensor will record."),
    "detect": ("detect:detect", "Run the program's model over sound files."),
    "catalogue": ("catalogue:catalogue", "Describe the installed programs, as JSON."),
    "render": ("catalogue:render", "Validate a configuration and write its home."),
    "provision": ("provision:provision", "Set the sensor up from a file on a card."),
    "completion": ("completion:completion", "Print the shell's completion script."),
}


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from acoupi import __version__

        click.echo(f"acoupi {__version__}")
        context.exit()


@click.group(
    cls=LazyGroup,
    package=__name__,
    lazy_commands=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "The sensor's files are in $ACOUPI_HOME, by default ~/.acoupi. "
        "Try it without any setup: acoupi run --demo"
    ),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.option(
    "--debug",
    is_flag=True,
    help=f"Show tracebacks of unexpected errors (also: {TRACEBACK_VARIABLE}=1).",
)
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Turn a Raspberry Pi and a microphone into an acoustic sensor."""
    if debug:
        os.environ[TRACEBACK_VARIABLE] = "1"
    if os.environ.get("NO_COLOR"):
        context.color = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        What follows the program's name; default: ``sys.argv[1:]``.

    Returns
    -------
    int
        Exit code: 0 when all went well, 1 when something failed, 2 when what was
        asked for or configured is not valid, 130 after Ctrl-C.
    """
    output = sys.stdout
    try:
        result = cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="acoupi",
            standalone_mode=False,
        )
    except click.exceptions.Exit as finished:
        return finished.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Aborted; nothing more was done.", err=True)
        return INTERRUPTED
    except SystemExit as error:
        # When the reader (head, less) has seen enough, click puts something else in
        # the place of standard output, and exits. Else only a program's own code does.
        if sys.stdout is not output:
            # The interpreter must not complain when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())
            return 1
        result = _explain(error)
    except Exception as error:  # noqa: BLE001 - the boundary to people
        result = _explain(error)
    return result if isinstance(result, int) else 0


def _explain(error: Exception | SystemExit) -> int:
    from acoupi.errors import AcoupiError

    label = click.style("Error:", fg="red")
    wants_traceback = os.environ.get(TRACEBACK_VARIABLE, "0") not in {"", "0"}
    if wants_traceback:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, AcoupiError):
        click.echo(f"{label} {error}", err=True)
        return error.exit_code
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"{label} {where}{error.strerror}", err=True)
        return 1
    click.echo(
        f"{label} unexpected {type(error).__name__}: {error}\n"
        f"This is a fault in acoupi or in the program; {TRACEBACK_VARIABLE}=1 shows "
        "where it happened.",
        err=True,
    )
    return 1
