"""Child processes that end with their parent, however the parent ends.

A sensor in the foreground consists of several processes. When the one that started
them is killed outright it cannot stop the others, so the kernel does: each child asks
for a signal at its parent's death (`prctl(2)`, ``PR_SET_PDEATHSIG``; Linux only).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["tether", "tethered_command"]

PR_SET_PDEATHSIG = 1
"""Option number of `prctl(2)` in ``linux/prctl.h``."""

# Runs in a bare interpreter between fork and exec: setting this from `preexec_fn`
# would run Python code in a forked copy of a possibly threaded process.
_SHIM = (
    "import ctypes,os,sys;"
    f"ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG},int(sys.argv[1]));"
    "os.getppid()==int(sys.argv[2]) or sys.exit(1);"
    "os.execv(sys.argv[3],sys.argv[3:])"
)


def tether(parent: int, signal_number: int = signal.SIGTERM) -> None:
    """Ask the kernel to signal this process when its parent dies.

    Parameters
    ----------
    parent
        Process id of the parent, as it was before the fork: if another process is
        the parent by now, the parent died in between and this process ends at once.
    signal_number
        What to be sent.

    Notes
    -----
    The kernel counts the *thread* that forked as the parent: fork from a thread that
    lives as long as the process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal_number))
    if os.getppid() != parent:
        os._exit(1)


def tethered_command(
    command: Sequence[str], signal_number: int = signal.SIGTERM
) -> list[str]:
    """Return the command that runs ``command`` tethered to the current process.

    Parameters
    ----------
    command
        Arguments; the first is the absolute path of an executable.
    signal_number
        What the command is sent when this process dies.
    """
    if sys.platform != "linux":
        return list(command)
    return [
        sys.executable,
        *("-I", "-S", "-c", _SHIM),
        str(int(signal_number)),
        str(os.getpid()),
        *command,
    ]
