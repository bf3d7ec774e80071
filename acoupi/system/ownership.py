"""Acting in a home as its owner, also when started by root."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from acoupi.components.places import existing_place

__all__ = ["as_owner_of", "become_owner_of"]


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
    from acoupi.system.apart import run_apart

    if os.geteuid() != 0 or directory.stat().st_uid == 0:
        return action()
    return run_apart(
        action,
        f"what was done in {directory}",
        before=partial(become_owner_of, directory),
    )


def become_owner_of(path: Path) -> None:
    """Make this process, when it is root's, one of the owner of a path, for good.

    Where the path is not there yet, of the directory that it would be made in.
    """
    if os.geteuid() != 0:
        return
    owner = existing_place(path).stat()
    if owner.st_uid == 0:
        return
    try:
        user = pwd.getpwuid(owner.st_uid)
    except KeyError:
        os.setgroups([])
    else:
        os.initgroups(user.pw_name, owner.st_gid)
        # As services have it: programs keep files of their own below "~".
        os.environ |= {
            "HOME": user.pw_dir,
            "USER": user.pw_name,
            "LOGNAME": user.pw_name,
        }
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
