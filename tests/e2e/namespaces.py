"""The namespaces and control groups that machines in containers live in."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path


class NamespaceError(Exception):
    """The kernel does not give what a machine needs."""


def first_process(outermost: int) -> int | None:
    """Find the machine's first process, by the number it has here.

    It is the one whose innermost of three numbers is 1: ours, the namespace that
    ends with us, the machine's.
    """
    found = [outermost]
    for pid in found:
        try:
            tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        numbers = next(
            line.split()[1:] for line in status.splitlines() if line[:6] == "NSpid:"
        )
        # Before it is systemd it is still nspawn, in nspawn's mounts.
        name = status.partition("\n")[0].split()[1]
        if len(numbers) - _depth() >= 2 and numbers[-1] == "1" and name == "systemd":
            return pid
        found += [int(child) for child in tasks.split()]
    return None


def _depth() -> int:
    status = Path("/proc/self/status").read_text()
    return next(
        len(line.split()) - 1 for line in status.splitlines() if line[:6] == "NSpid:"
    )


def make_control_group() -> Path:
    """Make an empty control group (cgroup2)."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, path, kind, *_ = line.split()
        if kind == "cgroup2":
            group = Path(path) / f"acoupi-test-{uuid.uuid4().hex[:8]}"
            group.mkdir()
            return group
    raise NamespaceError("there are no control groups (cgroup2) here")


def remove_control_group(group: Path) -> None:
    """Remove a control group and those below it, once their processes are gone."""
    deadline = time.monotonic() + 10
    while group.exists():
        for directory, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)  # noqa: PTH106 - the same type as os.walk's
        if time.monotonic() > deadline:
            raise NamespaceError(f"processes are left in {group}")
        if group.exists():
            time.sleep(0.02)
