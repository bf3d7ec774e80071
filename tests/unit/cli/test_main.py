"""What `acoupi` does with mistakes, with faults and with terminals."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

import acoupi
from acoupi.cli import cli, main
from acoupi.cli.keys import look_up
from acoupi.errors import AcoupiError, ConfigurationError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ACOUPI_TRACEBACK", raising=False)
    return tmp_path / "home"


@pytest.fixture
def failing(monkeypatch):
    """Add a command that raises what it is told to."""

    def add(error: BaseException):
        @click.command(name="fail")
        def fail():
            raise error

        monkeypatch.setitem(cli.commands, "fail", fail)

    return add


def test_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"acoupi {acoupi.__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("stauts", "status"), ("setpu", "setup"), ("confg", "config"), ("rum", "run")],
)
def test_a_misspelt_command_is_answered_with_the_nearest(typed, meant, capsys):
    assert main([typed]) == 2
    shown = capsys.readouterr()
    assert f"Did you mean '{meant}'" in shown.err
    assert not shown.out


def test_a_misspelt_subcommand_is_answered_with_the_nearest(capsys):
    assert main(["config", "gett"]) == 2
    assert "Did you mean 'get'" in capsys.readouterr().err


def test_a_command_like_no_other_is_answered_with_all_there_are(capsys):
    assert main(["xyzzy"]) == 2
    assert "setup, run, start" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [(AcoupiError("the key and the way out"), 1), (ConfigurationError("so"), 2)],
)
def test_errors_meant_for_people_are_one_message_and_their_exit_code(
    failing, error, code, capsys
):
    failing(error)
    assert main(["fail"]) == code
    assert capsys.readouterr().err == f"Error: {error}\n"


def test_an_unexpected_error_is_told_in_two_lines_with_the_way_to_its_place(
    failing, capsys
):
    failing(ValueError("strange"))
    assert main(["fail"]) == 1
    shown = capsys.readouterr().err
    assert "unexpected ValueError: strange" in shown
    assert "ACOUPI_TRACEBACK=1" in shown
    assert "Traceback" not in shown


def test_debug_shows_the_traceback(failing, capsys, monkeypatch):
    monkeypatch.setenv("ACOUPI_TRACEBACK", "")
    failing(ValueError("strange"))
    assert main(["--debug", "fail"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_system_error_names_the_file(failing, capsys):
    failing(PermissionError(13, "Permission denied", "/some/file"))
    assert main(["fail"]) == 1
    assert capsys.readouterr().err == "Error: /some/file: Permission denied\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_ends_with_130_and_no_traceback(failing, error, capsys):
    failing(error)
    assert main(["fail"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_no_colours_when_not_on_a_terminal(failing, capsys):
    failing(AcoupiError("plain"))
    main(["fail"])
    main(["--help"])
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed_for_each_shell(shell, capsys):
    assert main(["completion", shell]) == 0
    assert "_ACOUPI_COMPLETE" in capsys.readouterr().out


def test_completion_follows_the_shell_in_use(capsys, monkeypatch):
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert main(["completion"]) == 0
    assert "compdef" in capsys.readouterr().out


def test_completion_for_an_unknown_shell_names_the_known_ones(capsys, monkeypatch):
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert main(["completion"]) == 2
    assert "bash, zsh and fish" in capsys.readouterr().err.replace("\n", " ")


def test_a_program_that_exits_by_itself_is_an_error_with_a_message(failing, capsys):
    failing(SystemExit("no licence"))
    assert main(["fail"]) == 1
    assert "SystemExit: no licence" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["catalogue"]])
def test_a_reader_that_has_seen_enough_is_no_fault(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "acoupi.cli", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        timeout=120,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_place_in_a_list_that_is_no_plain_number_is_no_setting():
    with pytest.raises(ConfigurationError, match="there is no setting"):
        look_up({"values": [1, 2, 3]}, "values.²")
