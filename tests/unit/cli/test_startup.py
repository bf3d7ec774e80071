"""The command line starts fast because it imports little."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import click
import pytest

from acoupi.cli import cli

HEAVY = {
    "asyncio",
    "astral",
    "celery",
    "httpx",
    "jinja2",
    "kombu",
    "multiprocessing",
    "numpy",
    "paho",
    "psutil",
    "pydantic",
    "pytz",
    "redis",
    "rich",
    "sounddevice",
    "soundfile",
    "sqlite3",
}


def modules_after(*arguments: str) -> set[str]:
    code = (
        "import sys, json\n"
        "from acoupi.cli import main\n"
        f"main({list(arguments)!r})\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["setup", "--help"],
        ["run", "--help"],
        ["config", "--help"],
        ["config", "set", "--help"],
        ["detect", "--help"],
        ["status", "--help"],
        ["completion", "bash"],
        ["no-such-command"],
    ],
    ids=" ".join,
)
def test_help_and_completion_import_nothing_heavy(arguments):
    loaded = {name.partition(".")[0] for name in modules_after(*arguments)}
    assert not loaded & HEAVY


def test_help_imports_no_module_of_ours_but_the_command_lines_own():
    ours = {name for name in modules_after("--help") if name.startswith("acoupi")}
    assert ours == {"acoupi", "acoupi.cli", "acoupi.cli.lazy"}


def test_help_takes_less_than_150_ms_on_an_idle_machine():
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "acoupi.cli", "--help"],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # Processor time: others share the machine.
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(took) < 0.150


def test_the_list_of_commands_says_what_each_command_says_of_itself():
    with click.Context(cli) as context:
        for name, (_, line) in cli.lazy_commands.items():
            command = cli.get_command(context, name)
            assert command is not None
            assert command.name == name
            assert line.endswith(".")
            assert command.help, name


def every_command(group: click.Group, path: tuple[str, ...] = ()):
    with click.Context(group) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            yield (*path, name), command
            if isinstance(command, click.Group):
                yield from every_command(command, (*path, name))


@pytest.mark.parametrize(
    ("path", "command"),
    list(every_command(cli)),
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_every_command_option_and_argument_is_explained(path, command):
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{' '.join(path)} {parameter.name}"
