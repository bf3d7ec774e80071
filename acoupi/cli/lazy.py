"""Groups of commands that are imported when they are called."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CommandGroup", "LazyGroup"]


class CommandGroup(click.Group):
    """A group that suggests the command that was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of ``args``; an unknown one is an error with a suggestion.

        Raises
        ------
        click.UsageError
            When there is no such command.
        """
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            names = self.list_commands(ctx)
            close = difflib.get_close_matches(args[0], names, n=2, cutoff=0.5)
            if close:
                meant = " or ".join(repr(name) for name in close)
                message = f"No such command {args[0]!r}. Did you mean {meant}?"
            else:
                message = (
                    f"No such command {args[0]!r}. The commands are: "
                    f"{', '.join(names)}."
                )
            raise click.UsageError(message, ctx) from error


class LazyGroup(CommandGroup):
    """A group whose commands live in modules that are imported on use.

    Parameters
    ----------
    package
        Dotted name of the package that holds the modules.
    lazy_commands
        For each command, in the order shown: its name, then ``module:attribute`` and
        the line for the list of commands.
    """

    def __init__(
        self,
        *args: Any,
        package: str,
        lazy_commands: Mapping[str, tuple[str, str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.package = package
        self.lazy_commands = dict(lazy_commands)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return [*self.lazy_commands, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command, None when there is none of that name."""
        if cmd_name not in self.lazy_commands:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy_commands[cmd_name][0].partition(":")
        command = getattr(
            importlib.import_module(f"{self.package}.{module}"), attribute
        )
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the list of commands without importing any."""
        rows = [(name, text) for name, (_, text) in self.lazy_commands.items()]
        for name in super().list_commands(ctx):
            command = super().get_command(ctx, name)
            if command is not None:
                rows.append((name, command.get_short_help_str()))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
