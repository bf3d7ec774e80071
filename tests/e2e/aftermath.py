"""What a power cut left on a disk, judged from outside before anything mends it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from witness import Testimony

MEANWHILE = (".part", ".tmp")
"""Ends of the names of files that are still being written."""


@dataclass
class Aftermath:
    """What was found on a disk."""

    wrong: list[str] = field(default_factory=list)
    """Each promise that was broken."""
    beginnings: dict[int, tuple[str, float]] = field(default_factory=dict)
    """The boot of each recording and its begin on the monotonic clock, by number."""
    states: dict[str, int] = field(default_factory=dict)
    """How many recordings there are in each state."""
    losses: dict[str, int] = field(default_factory=dict)
    """What the sensor itself counts as lost."""
    files: int = 0
    """Sound files under their final names."""
    unfinished: list[str] = field(default_factory=list)
    """Files that were being written."""
    version: int = 0
    """Of the database's schema."""


def check_file_system(image: Path) -> list[str]:
    """Return what is wrong with a file system beyond what its journal mends.

    The journal is replayed into the image, as mounting it would.
    """
    replayed = _run("e2fsck", "-p", str(image))
    wrong = []
    # 0: nothing to do; 1: the journal was replayed and orphans were cleared.
    if replayed.returncode > 1:
        wrong.append(f"e2fsck -p: {replayed.returncode}: {replayed.stdout[-500:]}")
    found = _run("e2fsck", "-f", "-n", str(image))
    if found.returncode != 0:
        wrong.append(f"e2fsck -f -n: {found.returncode}: {found.stdout[-500:]}")
    return wrong


def inspect(image: Path, scratch: Path, told: Testimony, device: str) -> Aftermath:
    """Judge the home on a disk.

    Parameters
    ----------
    image : Path
        Image of the disk; a copy is looked at.
    scratch : Path
        A directory for the copy and for what is taken from it.
    told : Testimony
        What was acknowledged.
    device : str
        Path at which the disk is mounted in the machine.
    """
    found = Aftermath()
    copy = scratch / "looked-at.img"
    _run("cp", "--sparse=always", "--reflink=auto", str(image), str(copy))
    found.wrong += check_file_system(copy)
    home = scratch / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    _run("debugfs", "-R", f"rdump /data {home}", str(copy))
    copy.unlink()
    database = home / "data/acoupi.db"
    if not database.exists():
        if told.recordings:
            found.wrong.append("there is no database any more")
        return found
    try:
        _check_database(database, home, told, device, found)
    except sqlite3.DatabaseError as error:
        found.wrong.append(f"database: {error}")
    for path in (home / "data").glob("*corrupt*"):
        found.wrong.append(f"the sensor found its database damaged: {path.name}")
    return found


def _check_database(
    database: Path, home: Path, told: Testimony, device: str, found: Aftermath
) -> None:
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row

    def rows(query: str) -> list[sqlite3.Row]:
        return connection.execute(query).fetchall()

    for pragma in ("integrity_check", "foreign_key_check"):
        said = [tuple(row) for row in rows(f"PRAGMA {pragma}")]
        if said not in ([], [("ok",)]):
            found.wrong.append(f"{pragma}: {said[:3]}")
    found.version = rows("PRAGMA user_version")[0][0]
    recordings = {row["id"]: row for row in rows("SELECT * FROM recording")}
    for row in recordings.values():
        found.states[row["state"]] = found.states.get(row["state"], 0) + 1
        clock = json.loads(row["capture"] or "{}").get("clock", {})
        if clock:
            begin = (clock["boot_id"], clock["monotonic"])
            found.beginnings[row["number"]] = begin
    for row in rows("SELECT kind, reason, sum(count) n FROM loss GROUP BY 1, 2"):
        found.losses[f"{row['kind']}: {row['reason']}"] = row["n"]
    _check_promises(recordings, rows, told, found)
    _check_files(recordings, home, device, found)
    connection.close()


def _check_promises(
    recordings: dict[str, sqlite3.Row], rows: Any, told: Testimony, found: Aftermath
) -> None:
    for identity, (state, _) in told.recordings.items():
        row = recordings.get(identity)
        if row is None:
            found.wrong.append(f"recording {identity}, {state}, is not there any more")
        elif state != "undecided" and row["state"] != state:
            found.wrong.append(f"recording {identity} was {state}, is {row['state']}")
    outputs = {row["id"] for row in rows("SELECT id FROM model_output")}
    for lost in told.outputs - outputs:
        found.wrong.append(f"model output {lost} is not there any more")
    twice = rows(
        "SELECT recording, name_model FROM model_output GROUP BY 1, 2"
        " HAVING count(*) > 1"
    )
    if twice:
        found.wrong.append(f"analysed twice: {len(twice)} recordings")
    deliveries = {
        f"{row['id']} {row['destination']}": row["state"]
        for row in rows(
            "SELECT message.id, destination, state FROM message"
            " JOIN delivery ON delivery.message = message.number"
        )
    }
    for key, state in told.messages.items():
        now = deliveries.get(key)
        if now is None or (state == "sent" and now != "sent"):
            found.wrong.append(f"message {key} was {state}, is {now or 'not there'}")


def _check_files(
    recordings: dict[str, sqlite3.Row], home: Path, device: str, found: Aftermath
) -> None:
    lengths: dict[str, int] = {}
    for path in sorted((home / "data").rglob("*")):
        name = f"{device}/{path.relative_to(home)}"
        if not path.is_file() or ".db" in path.name:
            continue
        if path.name.endswith(MEANWHILE) or path.name.startswith("."):
            found.unfinished.append(name)
        elif path.suffix in {".flac", ".wav"}:
            found.files += 1
            lengths[name] = _count_samples(path, found.wrong)
    for identity, row in recordings.items():
        if row["state"] != "kept":
            continue
        if row["path"] not in lengths:
            found.wrong.append(f"recording {identity} has no file: {row['path']}")
        elif lengths[row["path"]] != round(row["duration"] * row["samplerate"]):
            found.wrong.append(f"{row['path']}: {lengths[row['path']]} samples")


def _count_samples(path: Path, wrong: list[str]) -> int:
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            samples = len(file.read(dtype="int16"))
            if samples != file.frames or not samples:
                wrong.append(f"{path.name}: {samples} of {file.frames} samples")
            return samples
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        # A header that is none may name any number of samples.
        wrong.append(f"{path.name}: {path.stat().st_size} bytes, unreadable: {error}")
        return 0


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
    )
