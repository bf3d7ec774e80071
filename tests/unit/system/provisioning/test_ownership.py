"""Root touches a home as its owner only."""

from __future__ import annotations

import os

import pytest

from acoupi.errors import AcoupiError, ConfigurationError
from acoupi.system.provisioning.ownership import as_owner_of

NOBODY = 65534


@pytest.fixture
def foreign(tmp_path):
    """A directory of another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # The way there must be open to that user, too.
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_mode & 0o005 != 0o005 and directory.stat().st_uid == 0:
            directory.chmod(directory.stat().st_mode | 0o005)
    path = tmp_path / "home"
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    return path


def test_the_owner_just_acts(tmp_path):
    assert as_owner_of(tmp_path, os.getpid) == os.getpid()


def test_root_acts_as_the_owner_and_hears_what_came_of_it(foreign):
    def act() -> list[int]:
        (foreign / "made").write_text("x")
        return [os.getuid(), os.getgid()]

    assert as_owner_of(foreign, act) == [NOBODY, NOBODY]
    assert (foreign / "made").stat().st_uid == NOBODY
    assert os.geteuid() == 0


def test_what_the_owner_may_not_do_fails(foreign):
    with pytest.raises(AcoupiError, match="PermissionError"):
        as_owner_of(foreign, lambda: (foreign.parent / "made").write_text("x"))


def test_errors_for_people_arrive_as_they_are(foreign):
    def fail() -> None:
        raise ConfigurationError("choose another name")

    with pytest.raises(AcoupiError, match="^choose another name$"):
        as_owner_of(foreign, fail)


def test_a_process_that_dies_is_an_error(foreign):
    with pytest.raises(AcoupiError, match="without a result"):
        as_owner_of(foreign, lambda: os.kill(os.getpid(), 9))
