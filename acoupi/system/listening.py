"""Asking PortAudio for microphones, in a process of its own.

PortAudio aborts the process when ALSA has no default device, hangs with some sound
servers, and writes to standard error as it likes: none of which may happen to a
command that is to say what is wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from acoupi.errors import AcoupiError

if TYPE_CHECKING:
    from acoupi.audio.devices import Microphone

__all__ = ["ListeningError", "look_for_microphones"]

PATIENCE = 10.0
"""Seconds for listing the devices; a broken sound server hangs."""

PROBING_PATIENCE = 60.0
"""Seconds for asking each device for its rates, too."""


class ListeningError(AcoupiError):
    """PortAudio cannot be asked."""


def look_for_microphones(*, probe: bool = True) -> list[Microphone]:
    """Return what `acoupi.audio.devices.list_microphones` does, whatever happens there.

    Raises
    ------
    ListeningError
        When PortAudio is missing, crashes or hangs; its message says which.
    """
    from acoupi.audio.devices import Microphone

    patience = PROBING_PATIENCE if probe else PATIENCE
    command = [sys.executable, "-B", "-m", __name__, *(["--probe"] if probe else [])]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ListeningError(
            f"the sound system does not answer within {patience:g} s: when a sound "
            "server is used, restart it; else unplug the microphone and plug it in "
            "again"
        ) from error
    answer = done.stdout.decode(errors="replace").splitlines()
    if done.returncode == 0 and answer:
        found = json.loads(answer[-1])
        if isinstance(found, str):
            raise ListeningError(found)
        return [
            Microphone(**{**one, "samplerates": tuple(one["samplerates"])})
            for one in found
        ]
    said = done.stderr.decode(errors="replace").strip().splitlines()
    raise ListeningError(
        f"the sound system crashed ({_ending(done.returncode)}"
        + (f": {said[-1]}" if said else "")
        + "): ALSA may have no default device; `arecord -l` shows the sound cards"
    )


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"


def _main() -> None:
    from acoupi.audio.devices import list_microphones

    try:
        found = list_microphones(probe="--probe" in sys.argv)
        print(json.dumps([asdict(one) for one in found]), flush=True)  # noqa: T201 - the answer
    except AcoupiError as error:
        print(json.dumps(str(error)), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    _main()
