"""Acting in a home as its owner, also when started by root."""

from __future__ import annotations

import json
import os
import pwd
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from acoupi.errors import AcoupiError

__all__ = ["as_owner_of"]


def as_owner_of(directory: Path, action: Callable[[], Any]) -> Any:
    """Run an action as the owner of a directory, and return its result.

    Root does not run the code of programs, and makes no file in a home that the
    sensor could not write. Anybody else just runs the action.

    Parameters
    ----------
    directory : Path
        An existing directory.
    action : callable
        Takes nothing, returns what JSON can hold.

    Raises
    ------
    AcoupiError
        When the action raised it, or anything else in the process of its own.
    """
    owner = directory.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return action()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        os.close(reading)
        _be(owner.st_uid, owner.st_gid)
        _answer(writing, action)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    try:
        kind, content = json.loads(answer)
    except ValueError as error:
        raise AcoupiError(
            f"what was done in {directory} ended without a result"
        ) from error
    if kind == "error":
        raise AcoupiError(content)
    return content


def _be(user: int, group: int) -> None:  # pragma: no cover - another process
    try:
        name = pwd.getpwuid(user).pw_name
        os.initgroups(name, group)
    except KeyError:
        os.setgroups([])
    os.setgid(group)
    os.setuid(user)


def _answer(
    writing: int, action: Callable[[], Any]
) -> None:  # pragma: no cover - another process
    status = 1
    try:
        try:
            answer = ["result", action()]
        except AcoupiError as error:
            answer = ["error", str(error)]
        except BaseException as error:  # noqa: BLE001 - told to the other process
            traceback.print_exc()
            answer = ["error", f"{type(error).__name__}: {error}"]
        with os.fdopen(writing, "wb") as answers:
            answers.write(json.dumps(answer).encode())
        status = 0
    finally:
        os._exit(status)
