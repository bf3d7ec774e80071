"""Whether a sensor recorded without a break while something happened to it."""

from __future__ import annotations

import itertools

from sensor import Sensor, eventually

UNIX_TIME = "(julianday(recording.created_on) - 2440587.5) * 86400"
"""SQL for the time of a recording in seconds since 1970, good to a millisecond."""


def now(sensor: Sensor) -> float:
    """Return the machine's wall clock."""
    return float(sensor.machine.succeed("date +%s.%N"))


def newest(sensor: Sensor) -> int:
    """Return the number of the newest recording."""
    rows = sensor.query("SELECT coalesce(max(number), 0) AS n FROM recording")
    return int(rows[0]["n"])


def waiting(sensor: Sensor) -> int:
    """Return how many recordings wait in memory for their decision."""
    names = sensor.machine.succeed("find /dev/shm /run -name '*.wav' -path '*acoupi*'")
    return len(names.splitlines())


def breaks(sensor: Sensor, after: float = 0) -> list[float]:
    """Return the seconds that are missing between recordings, one number a break.

    Parameters
    ----------
    sensor : Sensor
        Records second after second, without pauses.
    after : float
        Time in seconds since 1970 of the recording to begin with.
    """
    rows = sensor.query(
        f"SELECT {UNIX_TIME} AS began, duration FROM recording"
        f" WHERE {UNIX_TIME} >= {after} ORDER BY began"
    )
    missing = [
        late["began"] - early["began"] - early["duration"]
        for early, late in itertools.pairwise(rows)
    ]
    # Clocks of sound cards are not the machine's.
    return [round(seconds, 3) for seconds in missing if abs(seconds) > 0.1]


def seconds_until_heard(sensor: Sensor, moment: float) -> float:
    """Wait for a recording that began after a moment; return how long after."""
    found = eventually(
        "a recording",
        lambda: sensor.query(
            f"SELECT {UNIX_TIME} AS began FROM recording"
            f" WHERE {UNIX_TIME} > {moment} ORDER BY began LIMIT 1"
        ),
    )
    return float(found[0]["began"]) - moment


def detects_again(sensor: Sensor, timeout: float = 60) -> None:
    """Sound recorded from now on is analysed and its detections arrive."""
    last = newest(sensor)
    seen = set(sensor.received_recordings())
    eventually(
        "a new detection",
        lambda: sensor.query(
            "SELECT recording FROM model_output JOIN detection"
            f" ON detection.output = model_output.number WHERE recording > {last}"
            " LIMIT 1"
        ),
        timeout,
    )
    eventually(
        "a new message", lambda: set(sensor.received_recordings()) - seen, timeout
    )


def is_sound(sensor: Sensor) -> None:
    """The database is as it should be."""
    assert sensor.query("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
