"""Clocks that are wrong, and set when recordings were made already."""

from __future__ import annotations

import continuity
from sensor import Sensor, eventually

SYNCHRONISED = "/run/systemd/timesync/synchronized"
"""Touched when the time server has answered."""

DAY = 86_400.0

FIRST_CLOCK = 97_445.0
"""What a machine without a clock of its own believes after a boot: early in 1970."""

OFFSETS = (365 * DAY, -365 * DAY, 1.5 * DAY, -1.5 * DAY)
"""By how much, in seconds, the clock is set wrong after that, one after the other."""


def corrects_times(sensor: Sensor) -> dict[str, float]:
    """A clock that is wrong stops nothing, and is set right for what was recorded.

    Parameters
    ----------
    sensor : Sensor
        Records second after second; its clock is not known to be right.

    Returns
    -------
    dict
        ``corrected``, the number of recordings, and ``worst``, the seconds by which
        the time of one is wrong at most.
    """
    machine = sensor.machine
    machine.fail(f"test -e {SYNCHRONISED}")
    boot = machine.succeed("cat /proc/sys/kernel/random/boot_id").strip()
    wall, uptime = _read_both(sensor)
    began = wall - uptime
    wrong_times = [FIRST_CLOCK]
    wrong_times += [wall + offset for offset in OFFSETS]
    for wrong in wrong_times:
        last = continuity.newest(sensor)
        machine.succeed(f"date --utc --set=@{wrong:.2f}")
        # The schedule goes on, whatever the time.
        eventually(
            f"recordings at {wrong:.0f}",
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
    uncorrected = (
        f"{of_this_boot} AND json_extract(capture, '$.clock.synchronised') = 0"
        " AND coalesce(json_extract(capture, '$.clock.corrected'), 0) = 0"
    )
    eventually("corrected", lambda: not sensor.count("recording", uncorrected), 240)
    continuity.detects_again(sensor)
    rows = sensor.query(
        f"SELECT id, path, duration, {continuity.UNIX_TIME} AS began,"
        " json_extract(capture, '$.clock.monotonic') AS monotonic,"
        " json_extract(capture, '$.clock.corrected') AS corrected"
        f" FROM recording WHERE {of_this_boot}"
    )
    corrected = [row for row in rows if row["corrected"]]
    assert len(corrected) >= 3 * len(wrong_times)
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


def _read_both(sensor: Sensor) -> tuple[float, float]:
    # At the same moment, as nearly as a shell can.
    command = "read -r uptime rest </proc/uptime; echo $(date +%s.%N) $uptime"
    wall, uptime = sensor.machine.succeed(command).split()
    return float(wall), float(uptime)
