"""What hours of measurements of a sensor say: which figures grow, and how fast."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trend import DAY, Trend, fit

WARM_UP = 6000
"""Recordings that services are given to have everything loaded that they ever load, and
every table as large as it gets: Python's of interned strings grows once, by 0.9 MB,
after 1,700 to 4,000 recordings. Of a shorter run the second half is looked at, which
cannot show for certain that something grows for ever."""

DAILY = 8640
"""Recordings in a day, one in ten seconds as programs have it by default."""

LIMIT = 1.0
"""MB a day that the memory of a service may grow."""

Entry = dict[str, Any]


def write(path: Path, entries: list[Entry]) -> bool:
    """Write the report.

    Returns
    -------
    bool
        Whether something grew for certain that must not.
    """
    lines, grew = [], False
    for program in sorted({entry["program"] for entry in entries}):
        mine = [entry for entry in entries if entry["program"] == program]
        part, warm = _longest_part(mine)
        told, worse = _services(part, warm=warm, days=_days_of_work(mine))
        grew = grew or worse
        hours = (mine[-1]["elapsed"] - mine[0]["elapsed"]) / 3600
        lines += [
            f"## {program}: {hours:.2f} h, revision {mine[0]['revision']}",
            "",
            (
                f"{len(mine)} measurements; the lines are fitted to the last "
                f"{len(part)} of the longest part without a stop, over "
                f"{(part[-1]['elapsed'] - part[0]['elapsed']) / 60:.0f} minutes."
            ),
            "",
            *told,
            "",
            *_sizes(part),
            "",
            *_outside(mine),
            "",
        ]
    path.write_text("\n".join(lines) + "\n")
    return grew


def _longest_part(entries: list[Entry]) -> tuple[list[Entry], bool]:
    """Return what was measured without a stop, and whether the sensor was warm."""
    parts: dict[float, list[Entry]] = {}
    for entry in entries:
        parts.setdefault(entry["part"], []).append(entry)
    begun, longest = max(parts.items(), key=lambda it: len(it[1]))
    half = (longest[-1]["elapsed"] - begun) / 2
    days = _days_of_work(longest)
    warm_up = WARM_UP / DAILY / days * DAY if days else math.inf
    later = [it for it in longest if it["elapsed"] - begun >= min(warm_up, half)]
    return later, warm_up <= half


def _days_of_work(entries: list[Entry]) -> float:
    """Return how many days of a sensor by default each day held; 0: not known yet."""
    told = [it for it in entries if "outside" in it]
    first, last = told[0], told[-1]
    made = last["outside"]["recordings"] - first["outside"]["recordings"]
    seconds = last["elapsed"] - first["elapsed"]
    return made / seconds * DAY / DAILY if seconds else 0.0


def _services(part: list[Entry], *, warm: bool, days: float) -> tuple[list[str], bool]:
    lines = [
        (
            "| service | processes | RSS MB | PSS MB | RSS MB/day | private MB/day "
            f"| the same for {DAILY:,} recordings | open files | threads "
            "| below 1 MB/day |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    grew = False
    for name in sorted({name for entry in part for name in entry["services"]}):
        seen = [(it["elapsed"], it["services"].get(name)) for it in part]
        pids = [held["pid"] for _, held in seen if held]
        # A process that was replaced begins anew: the last one is looked at.
        mine = [(t, held) for t, held in seen if held and held["pid"] == pids[-1]]
        times = [t for t, _ in mine]
        slopes = {
            kind: fit(times, [held[kind] / 1e6 for _, held in mine])
            for kind in ("rss", "private")
        }
        verdict = _verdict(slopes["private"], warm=warm)
        grew = grew or verdict == "NO"
        last = mine[-1][1]
        lines.append(
            f"| {name} | {len(set(pids))} | {last['rss'] / 1e6:.1f} "
            f"| {last['pss'] / 1e6:.1f} | {_slope(slopes['rss'])} "
            f"| {_slope(slopes['private'])} | {_slope(slopes['private'], days)} "
            f"| {_range(h['fds'] for _, h in mine)} "
            f"| {_range(h['threads'] for _, h in mine)} | {verdict} |"
        )
    return lines, grew


def _verdict(trend: Trend | None, *, warm: bool) -> str:
    if trend is None:
        return "too short"
    if trend.per_day + 2 * trend.error < LIMIT:
        return "yes"
    if not warm:
        return "not warm yet"
    return "NO" if trend.per_day - 2 * trend.error > LIMIT else "not certain yet"


def _slope(trend: Trend | None, days: float = 1.0) -> str:
    if trend is None or not days:
        return "?"
    return f"{trend.per_day / days:+.2f} ± {2 * trend.error / days:.2f}"


def _range(values: Iterable[int]) -> str:
    seen = list(values)
    least, most = min(seen), max(seen)
    return f"{least}" if least == most else f"{least} to {most}, now {seen[-1]}"


def _sizes(part: list[Entry]) -> list[str]:
    lines = ["| what | MB at first | MB now | MB/day |", "|---|---|---|---|"]
    times = [entry["elapsed"] for entry in part]
    for name in part[-1]["sizes"]:
        values = [entry["sizes"][name] / 1e6 for entry in part]
        lines.append(
            f"| {name} | {values[0]:.2f} | {values[-1]:.2f} "
            f"| {_slope(fit(times, values))} |"
        )
    return lines


def _outside(entries: list[Entry]) -> list[str]:
    told = [entry for entry in entries if "outside" in entry]
    if not told:
        return []
    last = told[-1]["outside"]
    lines = [f"- {name}: {value}" for name, value in last.items()]
    # Since the last boot: the journal of former ones is not counted.
    since = [it for it in told if it["part"] == told[-1]["part"]]
    first = since[0]
    seconds = told[-1]["elapsed"] - first["elapsed"]
    if seconds > 0:
        grown = last["log_bytes"] - first["outside"]["log_bytes"]
        lines.append(f"- log, kB a day: {grown / seconds * DAY / 1000:.1f}")
    return lines
