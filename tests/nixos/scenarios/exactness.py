"""Whether each sample that a microphone delivers is in the recordings, once."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator

import continuity
from sensor import Sensor, eventually

CHECK = """\
import json, sys
import numpy, soundfile
missing = doubled = frames = 0
last = None
for path in json.load(sys.stdin):
    samples = soundfile.read(path, dtype="int16")[0].astype(numpy.int64)
    frames += len(samples)
    first = samples[0] - 1 if last is None else last
    steps = (numpy.diff(samples, prepend=first) - 1) % 65536
    steps[steps > 32768] -= 65536
    missing += int(steps[steps > 0].sum())
    doubled -= int(steps[steps < 0].sum())
    last = samples[-1]
print(json.dumps({"frames": frames, "missing": missing, "doubled": doubled}))
"""
"""Reads paths, and counts samples that are not one more than the one before."""


@contextlib.contextmanager
def busy(sensor: Sensor, processes: int) -> Iterator[None]:
    """Keep that many processors busy for a while."""
    units = [f"busy-{number}" for number in range(processes)]
    for unit in units:
        sensor.machine.succeed(
            f"systemd-run --quiet --collect --unit={unit}"
            " $(command -v sh) -c 'while :; do :; done'"
        )
    try:
        yield
    finally:
        if units:
            sensor.machine.succeed(f"systemctl stop {' '.join(units)}")


def records_every_sample(
    sensor: Sensor, seconds: float, processes: int
) -> dict[str, int]:
    """Count what is missing or doubled while the machine has too much to do.

    Parameters
    ----------
    sensor : Sensor
        Hears samples that count, and records without a pause.
    seconds : float
        How long.
    processes : int
        How many others want a whole processor.

    Returns
    -------
    dict
        ``frames`` that were compared, and how many were ``missing``, ``doubled`` and
        ``lost`` by the recorder's own account.
    """
    # Recordings stay where they are, uncompressed.
    sensor.machine.succeed("systemctl stop acoupi-worker-default.service")
    begun = continuity.now(sensor) + 2
    with busy(sensor, processes):
        rows = eventually(
            f"recordings of {seconds} s",
            lambda: _of_length(sensor, begun, seconds),
            10 * seconds + 120,
        )
    lost = int(sensor.status()["recorder"]["samples_lost"])
    paths = shlex.quote(json.dumps(rows))
    found: dict[str, int] = json.loads(
        sensor.machine.succeed(
            f"echo {paths} | $(dirname $(readlink -f $(command -v acoupi)))/python"
            f" -c {shlex.quote(CHECK)}",
            timeout=120,
        )
    )
    sensor.machine.succeed("systemctl start acoupi-worker-default.service")
    found["lost"] = lost
    return found


def is_whole(found: dict[str, int], frames: int) -> None:
    """All that was compared is there once, and the recorder says nothing else.

    Parameters
    ----------
    found : dict
        What `records_every_sample` returned.
    frames : int
        How many have to have been compared.
    """
    assert found["frames"] >= frames, found
    # What is missing is known.
    assert found["missing"] == found["lost"], found
    assert found["doubled"] == 0, found
    assert found["missing"] == 0, found


def _of_length(sensor: Sensor, begun: float, seconds: float) -> list[str]:
    rows = sensor.query(
        "SELECT path, duration FROM recording WHERE state = 'undecided'"
        f" AND {continuity.UNIX_TIME} > {begun} ORDER BY created_on"
    )
    long_enough = sum(row["duration"] for row in rows) >= seconds
    return [row["path"] for row in rows] if long_enough else []
