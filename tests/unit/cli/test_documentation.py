"""docs/command-line.md tells of every command, and of none that is not there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from acoupi.cli import cli

TEXT = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text("utf-8")

EXAMPLES = [
    line.partition("acoupi ")[2].partition(" #")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if "acoupi " in line and "eval" not in line
]


@pytest.mark.parametrize("name", list(cli.lazy_commands))
def test_every_command_has_its_section(name):
    assert re.search(rf"`(acoupi )?{name}\b", TEXT)


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_is_understood(line):
    words = shlex.split(re.split(r" [<>|] ", line)[0])
    group: click.Command = cli
    with click.Context(cli, info_name="acoupi") as context:
        while isinstance(group, click.Group):
            _, command, words = group.resolve_command(context, words)
            assert command is not None
            group = command
        group.make_context(group.name, list(words), resilient_parsing=False)


def test_the_examples_were_found():
    assert len(EXAMPLES) > 20
