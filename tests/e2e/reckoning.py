"""What a sensor knows after some of its processes were killed, against its promises."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections import Counter
from typing import Any

import soundfile
from machine import NspawnMachine
from sensor import Sensor, eventually

RECORDER = "acoupi-worker-recording"

LATE = 5.0
"""Seconds within which the recorder promises to be back."""

SLACK = 0.005
"""Seconds between two recordings that are none: times are kept to the microsecond."""

ON_ITS_WAY = 1.5
"""Seconds of sound between the microphone and the file: what the sound server, the
driver's buffer and the writer hold."""

_BEGAN = "((julianday(recording.created_on) - 2440587.5) * 86400)"

RECORDINGS = f"""
SELECT recording.number, recording.id, recording.created_on, recording.duration,
    recording.samplerate, recording.state, recording.path,
    {_BEGAN} AS began,
    count(DISTINCT model_output.number) AS outputs,
    count(detection.id) AS detections
FROM recording
LEFT JOIN model_output ON model_output.recording = recording.number
LEFT JOIN detection ON detection.output = model_output.number
GROUP BY recording.number ORDER BY recording.created_on
"""

Found = dict[str, Any]


def places(machine: NspawnMachine, sensor: Sensor) -> set[str]:
    """Return the files of a sensor, without the sound."""
    listed = machine.succeed(
        f"find {sensor.home} /dev/shm /run/acoupi* /tmp /var/tmp -type f"
        " -not -name '*.flac' -not -name '*.wav' -not -name '*.wav.part'"
        # One for each process that has logged an error.
        " -not -name 'trouble-*.json'"
        " 2>/dev/null || true"
    ).splitlines()
    # The sound server's library leaves these to each process that dies.
    return {name for name in listed if "/pulse-shm-" not in name}


def reckon(
    machine: NspawnMachine,
    sensor: Sensor,
    rounds: list[Found],
    known: set[str],
    seconds: float,
) -> Found:
    """Wait until what was recorded is decided and sent, and look it through.

    Returns
    -------
    dict
        Counts, and in ``broken`` the promises that were not kept, in words.
    """
    for unit in sensor.services():
        machine.wait_for_unit(unit)
    # Long enough for a machine that is busy otherwise, too.
    eventually("recording", sensor.is_recording, timeout=240)
    now = time.time()
    whole = f"{_BEGAN} > {now}"
    eventually("stored", lambda: sensor.count("recording", whole), timeout=120)
    undecided = f"{_BEGAN} <= {now} AND state = 'undecided'"
    # A ring that was lost is rung again after ten minutes at the latest.
    eventually(
        "decided", lambda: sensor.count("recording", undecided) == 0, timeout=900
    )
    decided = time.time() - now
    last = sensor.query("SELECT coalesce(max(number), 0) AS n FROM message")[0]["n"]
    waiting = f"state = 'waiting' AND message <= {last}"
    eventually("sent", lambda: sensor.count("delivery", waiting) == 0, timeout=120)
    rows = sensor.query(RECORDINGS)
    settled = [row for row in rows if row["began"] <= now]
    kills = [strike for one in rounds for strike in one["strikes"]]
    # Reckonings see the same sensor: each looks at its own rounds.
    begun = min(strike["at"] for strike in kills) - 10
    recent = [row for row in settled if row["began"] >= begun]
    gaps = find_gaps(recent, [s["at"] for s in kills if s["unit"] == RECORDER])
    messages = sensor.received()
    left = leftovers(machine, sensor, known)
    found: Found = {
        "seconds_until_decided": round(decided, 1),
        "kills": dict(Counter(strike["unit"] for strike in kills)),
        "recordings": len(recent),
        "detections": sum(row["detections"] for row in recent),
        "states": dict(Counter(row["state"] for row in recent)),
        "losses": sensor.query("SELECT kind, reason, count FROM loss"),
        "gaps": gaps,
        "shorter": sum(row["duration"] < seconds - SLACK for row in recent),
        "messages_again": _again(messages),
        "integrity": sensor.query("PRAGMA integrity_check")[0]["integrity_check"],
        "left": left,
    }
    found["broken"] = [
        *_broken(found, seconds),
        *_unreadable(machine, recent),
        *_untold(recent, messages),
    ]
    return found


def find_gaps(rows: list[Found], kills: list[float]) -> list[Found]:
    """Find where sound is missing between recordings, and which kill explains it.

    Parameters
    ----------
    rows : list of dict
        Recordings in their order, with ``began`` and ``duration`` in seconds.
    kills : list of float
        When the recorder was killed.

    Returns
    -------
    list of dict
        ``began`` and ``ended``; ``kills`` in it; ``lost``, the seconds before the
        first kill that are not there; ``away``, the seconds from the last kill to the
        first sound after it; both None where no kill explains the gap.
    """
    gaps = []
    for former, latter in itertools.pairwise(rows):
        ended = former["began"] + former["duration"]
        if abs(latter["began"] - ended) <= SLACK:
            continue
        # Times of kills and of sound are told by two clocks that agree to some ms.
        inside = [at for at in kills if ended - 0.1 <= at <= latter["began"] + 0.1]
        gaps.append(
            {
                "began": ended,
                "ended": latter["began"],
                "kills": len(inside),
                "lost": round(inside[0] - ended, 3) if inside else None,
                "away": round(latter["began"] - inside[-1], 3) if inside else None,
            }
        )
    return gaps


def leftovers(machine: NspawnMachine, sensor: Sensor, known: set[str]) -> list[str]:
    """Return the files that nothing will ever come back to."""
    new = sorted(places(machine, sensor) - known)
    directory = f"{sensor.home}/data/recordings"
    new += machine.succeed(f"find {directory} -type f -not -name '*.flac'").splitlines()
    waiting = machine.succeed("find /dev/shm -name '*.wav*'").splitlines()
    undecided = sensor.query("SELECT path FROM recording WHERE state = 'undecided'")
    expected = {row["path"] for row in undecided}
    # The one that is written, and those that were finished a moment ago.
    parts = [name for name in waiting if name.endswith(".part")]
    new += parts[:-1]
    new += [it for it in waiting if it not in expected and it not in parts]
    # What is being written just now has another name for a moment.
    return [name for name in new if _is_old(machine, name)]


def _is_old(machine: NspawnMachine, name: str) -> bool:
    test = f"test -e '{name}' && test -z \"$(find '{name}' -newermt '60 seconds ago')\""
    return machine.execute(test)[0] == 0


def _broken(found: Found, seconds: float) -> list[str]:
    broken = []
    if found["integrity"] != "ok":
        broken.append(f"the database is damaged: {found['integrity']}")
    wrong = found["states"].keys() - {"kept", "deleted"}
    broken += [f"{found['states'][it]} recordings are {it}" for it in wrong]
    for gap in found["gaps"]:
        if not gap["kills"]:
            broken.append(f"sound is missing or doubled without a kill: {gap}")
        elif gap["lost"] > seconds + ON_ITS_WAY:
            broken.append(f"more than one recording was lost: {gap}")
    if found["left"]:
        broken.append(f"files were left behind: {found['left']}")
    return broken


def _unreadable(machine: NspawnMachine, rows: list[Found]) -> list[str]:
    broken = []
    for row in rows:
        if row["state"] != "kept":
            continue
        path = machine.inside(row["path"])
        try:
            samples, rate = soundfile.read(path, dtype="int16")
        except (OSError, soundfile.SoundFileError) as error:
            broken.append(f"{row['path']} cannot be read: {error}")
            continue
        if abs(len(samples) / rate - row["duration"]) > 1 / rate:
            broken.append(f"{row['path']} has {len(samples)} samples: {row}")
    return broken


def _untold(rows: list[Found], messages: list[Found]) -> list[str]:
    told = {it["recording"]["id"]: it for it in messages if "detections" in it}
    broken = []
    for row in rows:
        if row["outputs"] != 1:
            broken.append(f"{row['id']} has {row['outputs']} outputs")
        message = told.get(row["id"])
        if row["detections"] and message is None:
            broken.append(f"nobody was told of {row['id']}")
        elif message and len(message["detections"]) != row["detections"]:
            broken.append(f"{row['id']} was told differently")
    contents: dict[str, set[str]] = {}
    for message in messages:
        if "detections" in message:
            key = message["recording"]["id"]
            contents.setdefault(key, set()).add(json.dumps(message, sort_keys=True))
    several = [key for key, texts in contents.items() if len(texts) > 1]
    if several:
        broken.append(f"told in more than one way: {several}")
    return broken


def _again(messages: list[Found]) -> int:
    """Count messages that arrived again, the same as before."""
    told = Counter(it["recording"]["id"] for it in messages if "detections" in it)
    return sum(count - 1 for count in told.values())


def in_short(found: Found) -> str:
    """Say in a line what was found."""
    away = [gap["away"] for gap in found["gaps"] if gap["kills"]]
    slowest = f", recorder back after {max(away):.1f} s at most" if away else ""
    verdict = "; ".join(found["broken"]) or "all promises kept"
    waited = f", decided after {found['seconds_until_decided']:.0f} s"
    return f"{found['recordings']} recordings{slowest}{waited}: {verdict}"


def summary(entries: list[Found]) -> tuple[list[str], bool]:
    """Return the report of all reckonings, and whether a promise was not kept."""
    kills: Counter[str] = Counter()
    for entry in entries:
        kills.update(entry["kills"])
    gaps = [gap for entry in entries for gap in entry["gaps"] if gap["kills"]]
    away = sorted(gap["away"] for gap in gaps)
    lost = sorted(gap["lost"] for gap in gaps)
    broken = [text for entry in entries for text in entry["broken"]]
    late = sum(it > LATE for it in away)
    rounds = sum(len(it["rounds"]) for it in entries)
    lines = [f"{rounds} rounds, {sum(kills.values())} kills"]
    lines += [f"- {unit}: {count} kills" for unit, count in sorted(kills.items())]
    figures = {
        "recordings": sum(it["recordings"] for it in entries),
        "detections": sum(it["detections"] for it in entries),
        "interruptions of the sound, each by a kill of the recorder": len(gaps),
        "recordings cut short": sum(it["shorter"] for it in entries),
        # The listener's file is one for all reckonings of a machine.
        "messages that arrived again, the same": max(
            (it["messages_again"] for it in entries), default=0
        ),
        "revisions": ", ".join(sorted({it["revision"] for it in entries})),
    }
    if away:
        figures |= {
            "from the kill to the first sound, s": _spread(away),
            f"above {LATE:g} s": f"{late} of {len(away)}",
            "sound lost from before a kill, s": _spread(lost),
        }
    figures["promises not kept"] = len(broken)
    lines += [f"- {name}: {value}" for name, value in figures.items()]
    lines += [f"  - {text}" for text in broken]
    return lines, bool(broken) or late > 0


def _spread(values: list[float]) -> str:
    return f"median {statistics.median(values):.2f}, most {values[-1]:.2f}"
