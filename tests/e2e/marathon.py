"""What the long runs share: the file system, a record that outlives them, the clock.

A run is started by hand, takes hours, and may be stopped and started again: what it
measured is in a file, one JSON document a line, and is read again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SCENARIOS = HERE.parent / "nixos" / "scenarios"
sys.path[:0] = [str(HERE), str(SCENARIOS)]

import layers  # noqa: E402 - the scenarios are found through the paths above
import machine  # noqa: E402 - as the first

Entry = dict[str, Any]


class Record:
    """The file of what a run measured.

    Parameters
    ----------
    path : Path
        One JSON document a line; made when it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> list[Entry]:
        """Return what was measured, also by former runs."""
        entries = []
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                # The last may have been cut off with the run.
                with contextlib.suppress(json.JSONDecodeError):
                    entries.append(json.loads(line))
        return entries

    def add(self, entry: Entry) -> None:
        """Add a measurement."""
        line = f"{json.dumps(entry)}\n".encode()
        with self.path.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                # Not behind what was cut off: it would be lost with it.
                line = line if file.read() == b"\n" else b"\n" + line
            file.write(line)


def run_directory(name: str) -> Path:
    """Return where a kind of run keeps what it measured."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "acoupi-tests" / name


def system_layers(checkout: Path) -> list[Path]:
    """Return the layers to boot from; acoupi is installed once, into ``checkout``.

    What runs for hours is what was there when it was started.
    """
    reason = layers.missing()
    if reason:
        raise SystemExit(f"skipped: {reason}")
    lower = layers.cached_layers()
    if not (checkout / "etc").exists():
        checkout.mkdir(parents=True)
        layers.install_checkout(checkout, lower)
        layers.configure(checkout)
    return [checkout, *lower]


def revision() -> str:
    """Name the state of the checkout."""
    git = ["git", "-C", str(layers.CHECKOUT), "describe", "--always", "--dirty"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does: in order, with a report."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
    finally:
        signal.signal(signal.SIGTERM, former)


def say(text: str) -> None:
    """Print a line about the progress."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def boots() -> str:
    """Say how many machines were booted, and how many boots were tried again."""
    counted = machine.NspawnMachine
    return f"{counted.boots} boots, of which tried again: {counted.retries}"
