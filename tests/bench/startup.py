"""How long the command line takes to start, beside a bare interpreter.

python tests/bench/startup.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 15
ACOUPI = str(Path(sys.executable).with_name("acoupi"))


def median_seconds(command: list[str], home: str) -> float:
    """Return the median wall time of a command."""
    environment = {**os.environ, "ACOUPI_HOME": home}
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, env=environment, capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Print one line a command."""
    with tempfile.TemporaryDirectory() as home:
        set_up = [ACOUPI, "setup", "--program", "acoupi.programs.default"]
        subprocess.run(
            [*set_up, "--no-prompt", "--microphone.source", "signal"],
            env={**os.environ, "ACOUPI_HOME": home},
            capture_output=True,
            check=True,
        )
        bare = median_seconds([sys.executable, "-c", "pass"], home)
        print(f"a bare interpreter   {bare * 1000:5.0f} ms (the limit)")
        for words in (["--help"], ["status"], ["config", "get", "recording"]):
            took = median_seconds([ACOUPI, *words], home)
            name = " ".join(["acoupi", *words])
            print(f"{name:28} {took * 1000:5.0f} ms  {took / bare:4.1f} times that")


if __name__ == "__main__":
    main()
