"""``acoupi completion``: completion for bash, zsh and fish."""

from __future__ import annotations

import os
from pathlib import Path

import click

__all__ = ["completion"]


@click.command()
@click.argument(
    "shell", required=False, type=click.Choice(["bash", "zsh", "fish"]), default=None
)
@click.pass_context
def completion(context: click.Context, shell: str | None) -> None:
    """Print the completion script of your shell (default: that of $SHELL).

    \b
    bash   eval "$(acoupi completion bash)"      in ~/.bashrc
    zsh    eval "$(acoupi completion zsh)"       in ~/.zshrc
    fish   acoupi completion fish | source       in ~/.config/fish/config.fish
    """  # noqa: D301 - click reads the backspace as "keep these lines"
    from click.shell_completion import get_completion_class

    chosen = shell or Path(os.environ.get("SHELL", "")).name
    kind = get_completion_class(chosen)
    if kind is None:
        raise click.UsageError(
            f"There is no completion for the shell {chosen!r}: name one of bash, zsh "
            "and fish.",
            context,
        )
    root = context.find_root().command
    # The source of bash's script asks the bash on PATH for its version, which is
    # of no use to a script that is stored.
    kind._check_version = staticmethod(lambda: None)  # type: ignore[attr-defined] # of click, not declared
    click.echo(kind(root, {}, "acoupi", "_ACOUPI_COMPLETE").source())
