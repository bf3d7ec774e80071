"""Several files are replaced together or not at all, whatever fails and when."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from pathlib import Path

import pytest

from acoupi.system.swap import DirectoryBusyError, NewFile, recover, replace_together

OPERATIONS = [
    "chmod",
    "fchmod",
    "fdopen",
    "fsync",
    "link",
    "mkdir",
    "open",
    "rename",
    "replace",
    "rmdir",
    "unlink",
]

FILES = {
    "app.py": NewFile(b"new app"),
    "bin/start.sh": NewFile(b"new start", 0o755),
    "bin/extra.sh": NewFile(b"extra", 0o755),
    "config/program.json": NewFile(b"new secret", 0o600),
}


class PowerCut(BaseException):
    """Nothing happens after it."""


class Faults:
    """Lets the n-th file operation fail, and those after it when it is a power cut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.count = 0
        self.fail_at = 0
        self.for_good = False
        for name in OPERATIONS:
            self._patch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, function):
        def faulty(*args, **keywords):
            self.count += 1
            if self.fail_at and self.for_good and self.count >= self.fail_at:
                raise PowerCut
            if self.count == self.fail_at:
                raise OSError(errno.EIO, "injected", str(args[0]))
            return function(*args, **keywords)

        return faulty

    def arm(self, fail_at: int, *, for_good: bool = False) -> None:
        self.count, self.fail_at, self.for_good = 0, fail_at, for_good

    def disarm(self) -> None:
        self.fail_at = 0


@pytest.fixture
def faults(monkeypatch):
    return Faults(monkeypatch)


def contents(directory: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(path.relative_to(directory)): (
            path.stat().st_mode & 0o7777,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(directory.rglob("*"))
    }


def make_former(home: Path) -> None:
    (home / "bin").mkdir(parents=True)
    (home / "config").mkdir()
    (home / "data").mkdir()
    (home / "app.py").write_bytes(b"old app")
    (home / "bin/start.sh").write_bytes(b"old start")
    (home / "config/program.json").write_bytes(b"old secret")
    (home / "config/program.json").chmod(0o600)
    (home / "config/deployment.json").write_bytes(b"deployment")
    (home / "data/sound.wav").write_bytes(b"sound")


def expected(former: dict) -> dict:
    return former | {
        name: (new.mode, new.content) for name, new in sorted(FILES.items())
    }


def test_all_files_are_replaced_and_the_others_left_alone(tmp_path):
    make_former(tmp_path)
    former = contents(tmp_path)
    replace_together(tmp_path, FILES)
    assert contents(tmp_path) == expected(former)


def test_a_directory_that_is_not_there_is_made_with_those_above_it(tmp_path):
    replace_together(tmp_path / "a/b", FILES, {"run": 0o700})
    found = contents(tmp_path / "a/b")
    assert found["run"] == (0o700, None)
    assert found["app.py"] == (0o644, b"new app")


@pytest.mark.parametrize("exists", [True, False], ids=["former", "fresh"])
def test_a_fault_at_any_operation_leaves_the_former_files_byte_identical(
    tmp_path, faults, exists
):
    failed = 0
    for number in itertools.count(1):
        home = tmp_path / f"{number}" / "deep" / "home"
        home.parent.parent.mkdir()
        if exists:
            make_former(home)
        former = contents(home.parent.parent)
        faults.arm(number)
        try:
            replace_together(home, FILES, {"log": 0o755})
        except OSError:
            faults.disarm()
            failed += 1
            assert contents(home.parent.parent) == former, number
        else:
            injected = faults.count >= number
            faults.disarm()
            # Once the new files hold, what fails while tidying up does not count.
            found = {k: v for k, v in contents(home).items() if ".setup" not in k}
            assert {k: found[k] for k in FILES} == {
                k: (v.mode, v.content) for k, v in FILES.items()
            }
            replace_together(home, FILES, {"log": 0o755})
            assert not [k for k in contents(home) if ".setup" in k]
            if not injected:
                break
    assert failed > 30


def test_a_power_cut_at_any_operation_leaves_the_former_or_the_new_files(
    tmp_path, faults
):
    outcomes = set()
    for number in itertools.count(1):
        home = tmp_path / str(number)
        make_former(home)
        former = contents(home)
        faults.arm(number, for_good=True)
        try:
            replace_together(home, FILES)
        except PowerCut:
            cut = True
        else:
            cut = False
        faults.disarm()
        recover(home)
        found = {k: v for k, v in contents(home).items() if ".setup" not in k}
        assert found in (former, expected(former)), number
        outcomes.add(found == former)
        replace_together(home, FILES)
        assert contents(home) == expected(former)
        if not cut:
            break
    assert outcomes == {True, False}


def test_a_power_cut_during_the_recovery_is_recovered_from_too(tmp_path, faults):
    for number in itertools.count(1):
        home = tmp_path / str(number)
        make_former(home)
        former = contents(home)
        # The third rename: two files are replaced already.
        faults.arm(0)
        cut_after = _cut_between_files(home, faults)
        assert cut_after
        faults.arm(number, for_good=True)
        try:
            recover(home)
        except PowerCut:
            faults.disarm()
        else:
            faults.disarm()
            assert contents(home) == former
            break
        recover(home)
        found = {k: v for k, v in contents(home).items() if ".setup" not in k}
        assert found == former, number


def _cut_between_files(home: Path, faults: Faults) -> bool:
    """Cut the power when some of the files are replaced and some are not."""
    for number in itertools.count(1):
        faults.arm(number, for_good=True)
        try:
            replace_together(home, FILES)
        except PowerCut:
            faults.disarm()
            if (home / "app.py").read_bytes() == b"new app":
                return True
            recover(home)
        else:
            return False
    return False


def test_two_at_a_time_are_refused_and_disturb_nothing(tmp_path):
    make_former(tmp_path)
    former = contents(tmp_path)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(DirectoryBusyError):
            replace_together(tmp_path, FILES, {"log": 0o755})
        assert contents(tmp_path) == former
        (tmp_path / ".setup").mkdir()
        recover(tmp_path)
        assert (tmp_path / ".setup").is_dir()
    finally:
        os.close(handle)


def test_a_link_is_replaced_and_its_target_left_alone(tmp_path):
    make_former(tmp_path / "home")
    target = tmp_path / "target"
    target.write_text("target")
    (tmp_path / "home/app.py").unlink()
    (tmp_path / "home/app.py").symlink_to(target)
    replace_together(tmp_path / "home", FILES)
    assert target.read_text() == "target"
    assert (tmp_path / "home/app.py").read_bytes() == b"new app"
    assert not (tmp_path / "home/app.py").is_symlink()


def test_file_systems_without_hard_links_do(tmp_path, monkeypatch):
    def refuse(*args, **keywords):
        raise OSError(errno.EPERM, "no links here")

    make_former(tmp_path)
    former = contents(tmp_path)
    monkeypatch.setattr(os, "link", refuse)
    replace_together(tmp_path, FILES)
    assert contents(tmp_path) == expected(former)
