"""Root touches a home as its owner only."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from acoupi.errors import AcoupiError, ConfigurationError
from acoupi.system.apart import run_apart
from acoupi.system.ownership import as_owner_of, become_owner_of

NOBODY = 65534


@pytest.fixture
def foreign():
    """A directory of another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # Not pytest's: that is closed to others.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "home"
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
        yield path


def test_the_owner_just_acts(tmp_path):
    assert as_owner_of(tmp_path, os.getpid) == os.getpid()


def test_root_acts_as_the_owner_and_hears_what_came_of_it(foreign):
    def act() -> list[int]:
        (foreign / "made").write_text("x")
        return [os.getuid(), os.getgid()]

    assert as_owner_of(foreign, act) == [NOBODY, NOBODY]
    assert (foreign / "made").stat().st_uid == NOBODY
    assert os.geteuid() == 0


def test_a_process_becomes_the_owner_of_what_is_yet_to_be_made(foreign):
    def who() -> int:
        return os.getuid()

    become = partial(become_owner_of, foreign / "not" / "there")
    assert run_apart(who, "looking", before=become) == NOBODY


def test_its_home_is_the_one_of_the_owner(foreign):
    home = pwd.getpwuid(NOBODY).pw_dir
    assert as_owner_of(foreign, lambda: str(Path("~").expanduser())) == home
    assert os.environ.get("HOME") != home


def test_what_acts_as_the_owner_ends_with_who_waits_for_it(foreign):
    code = """
import os, sys, time
from pathlib import Path
from acoupi.system.ownership import as_owner_of

def last():
    print("began", file=sys.stderr, flush=True)
    time.sleep(20)
    print("outlived it", file=sys.stderr, flush=True)

as_owner_of(Path(sys.argv[1]), last)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(foreign)], stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "began\n"
        waiting.kill()
        assert waiting.stderr.read() == ""


def test_what_the_owner_may_not_do_fails(foreign):
    with pytest.raises(AcoupiError, match="PermissionError"):
        as_owner_of(foreign, lambda: (foreign.parent / "made").write_text("x"))


def test_errors_for_people_arrive_as_they_are(foreign):
    def fail() -> None:
        raise ConfigurationError("choose another name")

    with pytest.raises(AcoupiError, match=r"^choose another name$"):
        as_owner_of(foreign, fail)


def test_a_process_that_dies_is_an_error(foreign):
    with pytest.raises(AcoupiError, match="SIGKILL"):
        as_owner_of(foreign, lambda: os.kill(os.getpid(), 9))
