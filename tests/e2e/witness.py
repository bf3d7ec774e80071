"""What tells, from inside a machine, what its sensor has acknowledged.

`WITNESS` is a program of its own that runs beside the sensor. It reads the database as
anybody would and writes each change at once to where it is known when the power goes
(a port of the virtual machine, a directory of the container's host): one JSON document
a line. What it has read was committed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

UNIT = """\
[Unit]
Description=Tells what the sensor has acknowledged
StartLimitIntervalSec=0
[Service]
ExecStart=/usr/bin/python3 -I /opt/witness
Restart=always
RestartSec=0.5
[Install]
WantedBy=multi-user.target
"""

WITNESS = '''\
"""Tells what the sensor has acknowledged; see tests/e2e/witness.py of acoupi."""
import glob, json, os, sqlite3, sys, time

HOME = "/var/lib/acoupi"
DATABASE = HOME + "/data/acoupi.db"
RECENT = 30
QUERIES = {
    "recording": (
        "SELECT id, state, path, number FROM recording"
        " WHERE number > (SELECT max(number) FROM recording) - ?"
    ),
    "output": (
        "SELECT id, recording, name_model FROM model_output"
        " WHERE number > (SELECT max(number) FROM model_output) - ?"
    ),
    "message": (
        "SELECT message.id || ' ' || destination, state FROM message"
        " JOIN delivery ON delivery.message = message.number"
        " WHERE number > (SELECT max(number) FROM message) - ?"
    ),
}


def find():
    if os.path.isdir("/opt/rig"):
        return os.open("/opt/rig/told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        for path in glob.glob("/sys/class/virtio-ports/*/name"):
            with open(path) as file:
                if file.read().strip() == "org.acoupi.told":
                    return os.open("/dev/" + path.split("/")[-2], os.O_WRONLY)
        time.sleep(0.1)


port = find()


def tell(*words):
    os.write(port, json.dumps(words).encode() + b"\\n")


with open("/proc/sys/kernel/random/boot_id") as file:
    boot = file.read().strip()
with open("/proc/uptime") as file:
    tell("boot", boot, float(file.read().split()[0]))
while not os.path.exists(DATABASE):
    time.sleep(0.2)
owner = os.stat(HOME)
os.setgid(owner.st_gid)
os.setuid(owner.st_uid)
known = {}
while True:
    try:
        connection = sqlite3.connect("file:" + DATABASE + "?mode=ro", uri=True)
        version = None
        while True:
            now = connection.execute("PRAGMA data_version").fetchone()
            if now == version:
                time.sleep(0.1)
                continue
            version = now
            for kind, query in QUERIES.items():
                for key, *rest in connection.execute(query, (RECENT,)).fetchall():
                    if known.get((kind, key)) != rest:
                        known[kind, key] = rest
                        tell(kind, key, *rest)
            # It is not to take the sensor's time.
            time.sleep(0.3)
    except sqlite3.Error as error:
        tell("error", str(error))
        time.sleep(0.5)
'''


@dataclass
class Testimony:
    """What was acknowledged, as far as it was seen from outside."""

    recordings: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """State and path, by the recording's id."""
    newest: int = 0
    """The highest number of a recording."""
    outputs: set[str] = field(default_factory=set)
    """Ids of model outputs."""
    messages: dict[str, str] = field(default_factory=dict)
    """State, by the message's id and its destination."""
    errors: list[str] = field(default_factory=list)
    """What the witness could not read."""
    lines: int = 0
    """How many acknowledgements and changes of them were told."""

    def take(self, path: Path) -> None:
        """Add what a machine told, up to the last whole line."""
        if not path.exists():
            return
        for line in path.read_text(errors="replace").splitlines(keepends=True):
            if line.endswith("\n"):
                self._add(json.loads(line))

    def _add(self, words: list[str]) -> None:
        kind, key, *rest = words
        self.lines += kind in {"recording", "output", "message"}
        if kind == "recording":
            state, path, number = rest
            self.newest = max(self.newest, int(number))
            self.recordings[key] = (state, path)
        elif kind == "output":
            self.outputs.add(key)
        elif kind == "message":
            self.messages[key] = rest[0]
        elif kind == "error":
            self.errors.append(key)
