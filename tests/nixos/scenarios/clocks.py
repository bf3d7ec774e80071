"""Clocks that are wrong, and set when recordings were made already."""

from __future__ import annotations

import continuity
from sensor import Sensor, eventually

SYNCHRONISED = "/run/systemd/timesync/synchronized"
"""Touched when the time server has answered."""

STEPS = ("1970-01-02 03:04:05", "+1 year", "-2 years", "+36 hours", "-36 hours")
"""To what, or by how much, the clock is set wrong, one after the other."""


def corrects_times(sensor: Sensor, steps: tuple[str, ...] = STEPS) -> dict[str, float]:
    """A clock that is wrong stops nothing, and is set right for what was recorded.

    Parameters
    ----------
    sensor : Sensor
        Records second after second; its clock is not known to be right.
    steps : tuple of str
        As `STEPS`.

    Returns
    -------
    dict
        ``corrected``, the number of recordings, and ``worst``, the seconds by which
        the time of one is wrong at most.
    """
    machine = sensor.machine
    machine.fail(f"test -e {SYNCHRONISED}")
    boot = machine.succeed("cat /proc/sys/kernel/random/boot_id").strip()
    began = continuity.now(sensor) - _monotonic(sensor)
    for step in steps:
        last = continuity.newest(sensor)
        machine.succeed(f"date --utc --set='{_wanted(step)}'")
        # The schedule goes on, whatever the time.
        eventually(
            f"recordings after {step}",
            lambda n=last: continuity.newest(sensor) >= n + 3,
        )
    made = sensor.count("recording")
    true_time = f"awk '{{ printf \"%.2f\", {began!r} + $1 }}' /proc/uptime"
    machine.succeed(
        f"date --utc --set=@$({true_time})",
        f"mkdir --parents $(dirname {SYNCHRONISED})",
        f"touch {SYNCHRONISED}",
    )
    of_this_boot = f"boot_id = '{boot}'"
    wrong = (
        f"{of_this_boot} AND json_extract(capture, '$.clock.synchronised') = 0"
        " AND coalesce(json_extract(capture, '$.clock.corrected'), 0) = 0"
    )
    eventually("corrected", lambda: not sensor.count("recording", wrong), 240)
    continuity.detects_again(sensor)
    rows = sensor.query(
        f"SELECT id, path, duration, {continuity.UNIX_TIME} AS began,"
        " json_extract(capture, '$.clock.monotonic') AS monotonic,"
        " json_extract(capture, '$.clock.corrected') AS corrected"
        f" FROM recording WHERE {of_this_boot}"
    )
    corrected = [row for row in rows if row["corrected"]]
    assert len(corrected) >= 3 * len(steps)
    assert len(rows) > made
    worst = max(abs(row["began"] - row["monotonic"] - began) for row in rows)
    assert worst < 1, worst
    assert min(row["duration"] for row in rows) > 0
    # No name was given twice, and nothing is missing in between.
    paths = [row["path"] for row in rows if row["path"]]
    assert len(set(paths)) == len(paths)
    assert continuity.breaks(sensor) == []
    assert sensor.status()["store"]["losses"] == {}
    return {"corrected": len(corrected), "worst": worst}


def _monotonic(sensor: Sensor) -> float:
    return float(sensor.machine.succeed("cut --delimiter=' ' --fields=1 /proc/uptime"))


def _wanted(step: str) -> str:
    # Relative ones from now on.
    return f"now {step}" if step.startswith(("+", "-")) else step
