"""``acoupi run``: the whole sensor in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoupi.system import Settings

__all__ = ["run"]

DEMO_HOME = Path("~/acoupi-demo")
"""Home of the demonstration, where its recordings are easy to find."""


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--program",
    metavar="MODULE",
    help="Set this program up first, if the home has none, without asking.",
)
@click.option("--demo", is_flag=True, help="Run the demonstration; needs no setup.")
@click.option(
    "--sound",
    type=click.Path(),
    help="With --demo: a sound file or folder in the microphone's place.",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    help=f"The sensor's home (default: $ACOUPI_HOME; with --demo: {DEMO_HOME}).",
)
@click.option(
    "--layout",
    type=click.Choice(["compact", "separate"]),
    default="compact",
    show_default=True,
    help="Fork all processes from one, or give each an interpreter of its own.",
)
@click.option(
    "--quiet", "-q", is_flag=True, help="Print neither detections nor a summary."
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def run(
    program: str | None,
    demo: bool,
    sound: str | None,
    home: Path | None,
    layout: Literal["compact", "separate"],
    quiet: bool,
    options: tuple[str, ...],
) -> None:
    """Run the sensor in the foreground, until Ctrl-C.

    Starts everything: a broker of its own when none is configured, the workers and
    the scheduler; restarts what dies; prints each detection as it happens and, at the
    end, a summary. For laptops, containers and for trying things out; on a sensor in
    the field, use `acoupi start`.

    \b
    acoupi run --demo                 with the microphone, or a signal in its place
    acoupi run --demo --sound DIR     with your own recordings
    acoupi run                        what was set up with acoupi setup
    acoupi run --program MODULE --microphone.source signal
                                      a program set up by its options, see setup
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from acoupi.errors import ConfigurationError
    from acoupi.system import Settings

    if sound and not demo:
        raise click.UsageError(
            "--sound goes with --demo. A sensor of yours takes sound files through its "
            "configuration: acoupi config set microphone.source folder"
        )
    if demo and program is not None:
        raise click.UsageError("--demo has a program of its own: leave --program out.")
    if options and program is None:
        raise click.UsageError(
            f"{options[0]!r}: the program's options go with --program only."
        )
    settings = Settings(DEMO_HOME.expanduser() if demo and home is None else home)
    if demo:
        _prepare_demo(settings, Path(sound) if sound else None)
    elif program is not None:
        _prepare_program(settings, program, options)
    elif not settings.is_set_up:
        raise ConfigurationError(
            f"No sensor is set up in {settings.home}. Set one up: acoupi setup. Or "
            "try the demonstration, which needs no setup: acoupi run --demo"
        )

    from acoupi.system.foreground import run_in_foreground

    def report(line: str) -> None:
        click.echo(click.style(line, fg="yellow"), err=True)

    if not quiet:
        click.echo("Starting; Ctrl-C stops.")
    run_in_foreground(settings, layout, view=not quiet, report=report)


def _prepare_demo(settings: Settings, sound: Path | None) -> None:
    from acoupi.system.demo import choose_sound, set_up_demo

    chosen = choose_sound(sound)
    set_up_demo(settings, chosen)
    click.echo(f"Sound: {chosen.description}.")
    click.echo(f"Home:  {settings.home}")


def _prepare_program(settings: Settings, program: str, options: Sequence[str]) -> None:
    from acoupi.errors import ConfigurationError
    from acoupi.system import (
        CeleryConfig,
        load_program,
        parse_config_from_args,
        setup_program,
    )
    from acoupi.system.configuration import read_program_name

    if settings.is_set_up:
        present = read_program_name(settings)
        if present != program or options:
            raise ConfigurationError(
                f"{settings.home} is set up with {present}. Run that with: acoupi run; "
                f"change it with: acoupi setup --program {program}; or give this run "
                "another home with --home."
            )
        return
    schema = load_program(program).get_config_schema()
    config = parse_config_from_args(schema, options, prompt=False)
    setup_program(settings, program, config, CeleryConfig())
