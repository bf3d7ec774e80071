"""Replacing several files of a directory together: all of them, or none.

The new files are staged within the directory, the former ones kept beside them, and
a journal says which is which. Until the last step any error, and at the next access
any power cut, brings the former files back.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from acoupi.system.files import sync_directory

__all__ = ["DirectoryBusyError", "NewFile", "recover", "replace_together"]

_PREPARED = ".setup.tmp"
_UNDER_WAY = ".setup"
_DONE = ".setup.done"
_JOURNAL = "journal.json"


class DirectoryBusyError(Exception):
    """Another process replaces files of the directory."""


@dataclass(frozen=True)
class NewFile:
    """What a file is to be."""

    content: bytes
    mode: int = 0o644


def replace_together(
    directory: Path,
    files: Mapping[str, NewFile],
    directories: Mapping[str, int] | None = None,
) -> None:
    """Replace files of a directory, all or none; other files in it stay as they are.

    Parameters
    ----------
    directory : Path
        Made, with those above it, when it is not there.
    files : mapping
        New files by their path within the directory.
    directories : mapping, optional
        Permissions of directories within it to make when they are not there.

    Raises
    ------
    DirectoryBusyError
        When another process is at it.
    OSError
        When a step fails; the directory is then what it was before.
    """
    wanted = dict.fromkeys(_directories_of(files), 0o755) | dict(directories or {})
    made: list[Path] = []
    try:
        _make(directory, 0o755, made, parents=True)
        with _lock(directory):
            _undo(directory)
            for name, mode in sorted(wanted.items()):
                _make(directory / name, mode, made)
            _replace(directory, files)
            made.clear()
    except BaseException:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir()
        raise


def recover(directory: Path) -> None:
    """Bring back the former files when a replacement was cut short.

    Raises
    ------
    OSError
        When that fails.
    """
    if not os.path.lexists(directory / _UNDER_WAY):
        return
    # When it is busy, another process is still at it.
    with suppress(DirectoryBusyError), _lock(directory):
        _undo(directory)


def _directories_of(files: Mapping[str, NewFile]) -> set[str]:
    parents = {str(Path(name).parent) for name in files}
    return parents - {"."}


def _make(path: Path, mode: int, made: list[Path], *, parents: bool = False) -> None:
    if path.is_dir():
        return
    if parents and not path.parent.is_dir():
        _make(path.parent, mode, made, parents=True)
    path.mkdir()
    made.append(path)
    path.chmod(mode)
    _own_like(path, path.parent)


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DirectoryBusyError(str(directory)) from error
        yield
    finally:
        os.close(handle)


def _replace(directory: Path, files: Mapping[str, NewFile]) -> None:
    try:
        _stage(directory, files)
        for position, name in enumerate(files):
            (directory / _UNDER_WAY / f"new-{position}").replace(directory / name)
        for parent in sorted({(directory / name).parent for name in files}):
            sync_directory(parent)
        # From here on the new files hold.
        (directory / _UNDER_WAY).rename(directory / _DONE)
    except BaseException:
        _undo(directory)
        raise
    with suppress(OSError):
        sync_directory(directory)
    shutil.rmtree(directory / _DONE, ignore_errors=True)


def _stage(directory: Path, files: Mapping[str, NewFile]) -> None:
    stage = directory / _PREPARED
    stage.mkdir(mode=0o700)
    journal: list[tuple[str, bool]] = []
    for position, (name, new) in enumerate(files.items()):
        staged = stage / f"new-{position}"
        _write(staged, new)
        _own_like(staged, (directory / name).parent)
        existed = os.path.lexists(directory / name)
        if existed:
            _keep(directory / name, stage / f"old-{position}")
        journal.append((name, existed))
    _write(stage / _JOURNAL, NewFile(json.dumps(journal).encode(), 0o600))
    sync_directory(stage)
    stage.rename(directory / _UNDER_WAY)
    sync_directory(directory)


def _own_like(path: Path, directory: Path) -> None:
    """Give a file that root made to the owner of the directory that it belongs to."""
    if os.geteuid() == 0:
        owner = directory.stat()
        if owner.st_uid != 0:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _write(path: Path, new: NewFile) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(new.content)
        file.flush()
        os.fchmod(file.fileno(), new.mode)
        os.fsync(file.fileno())


def _keep(path: Path, kept: Path) -> None:
    try:
        os.link(path, kept, follow_symlinks=False)
    except OSError:
        # Some file systems have no links.
        shutil.copy2(path, kept, follow_symlinks=False)


def _undo(directory: Path) -> None:
    """Bring the former files back and remove every trace; harmless when repeated."""
    stage = directory / _UNDER_WAY
    if stage.is_dir():
        journal = json.loads((stage / _JOURNAL).read_text(encoding="utf-8"))
        for position, (name, existed) in enumerate(journal):
            kept = stage / f"old-{position}"
            if not existed:
                (directory / name).unlink(missing_ok=True)
            elif os.path.lexists(kept):
                kept.replace(directory / name)
        for parent in sorted({(directory / name).parent for name, _ in journal}):
            if parent.is_dir():
                sync_directory(parent)
        stage.rename(directory / _DONE)
    for name in (_PREPARED, _DONE):
        if os.path.lexists(directory / name):
            shutil.rmtree(directory / name)
