"""What a power cut may leave is accepted, and each broken promise is named."""

from __future__ import annotations

import datetime
import shutil
import sqlite3
import subprocess
from pathlib import Path

import aftermath
import numpy as np
import pytest
import soundfile
import witness

from acoupi.components.stores.schema import migrate

DEVICE = "/var/lib/acoupi"
PATH = f"{DEVICE}/data/recordings/a.flac"
NOW = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC).isoformat()

pytestmark = pytest.mark.skipif(
    not all(
        shutil.which(it, path="/usr/sbin:/sbin:/usr/bin")
        for it in ("mke2fs", "debugfs", "e2fsck")
    ),
    reason="e2fsprogs is not installed",
)


class Home:
    """A home with one kept recording, its output and a message that was sent."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tree = directory / "tree"
        (self.tree / "data/recordings").mkdir(parents=True)
        self.sound = self.tree / "data/recordings/a.flac"
        soundfile.write(self.sound, np.zeros(8000, dtype="int16"), 8000)
        self.database = sqlite3.connect(self.tree / "data/acoupi.db")
        migrate(self.database, self.tree / "data/acoupi.db")
        self.run(
            "INSERT INTO deployment VALUES (1, 'd', 'd', NULL, NULL, ?, NULL, 0)", NOW
        )
        self.run(
            "INSERT INTO recording (number, id, deployment, created_on, duration,"
            " samplerate, path, capture, state) VALUES (1, 'r', 1, ?, 1, 8000, ?,"
            """ '{"clock": {"boot_id": "b", "monotonic": 7.5}}', 'kept')""",
            NOW,
            PATH,
        )
        self.run("INSERT INTO model_output VALUES (1, 'o', 1, 'm', ?)", NOW)
        self.run("INSERT INTO message VALUES (1, 'n', 'text', ?)", NOW)
        self.run(
            "INSERT INTO delivery (message, destination, state)"
            " VALUES (1, 'http', 'sent')"
        )
        self.told = witness.Testimony(
            recordings={"r": ("kept", PATH)},
            outputs={"o"},
            messages={"n http": "sent"},
        )

    def run(self, sql: str, *values: str) -> None:
        with self.database:
            self.database.execute(sql, values)

    def judge(self) -> aftermath.Aftermath:
        self.database.close()
        image = self.directory / "image"
        subprocess.run(["truncate", "--size", "16M", str(image)], check=True)
        make = ["mke2fs", "-q", "-t", "ext4", "-d", str(self.tree), str(image)]
        subprocess.run(make, check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin"})
        return aftermath.inspect(image, self.directory, self.told, DEVICE)


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    yield home
    home.database.close()


def test_a_sound_home_is_found_to_be_so(home):
    found = home.judge()
    assert found.wrong == []
    assert (found.states, found.files) == ({"kept": 1}, 1)
    assert found.beginnings == {1: ("b", 7.5)}


def test_what_is_being_written_may_be_incomplete(home):
    (home.tree / "data/recordings/b.flac.part").write_bytes(b"fL")
    found = home.judge()
    assert found.wrong == []
    assert found.unfinished == [f"{DEVICE}/data/recordings/b.flac.part"]


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("UPDATE recording SET id = 'other'", "recording r, kept, is not there"),
        ("UPDATE recording SET state = 'undecided'", "was kept, is undecided"),
        ("UPDATE model_output SET id = 'other'", "model output o is not there"),
        ("UPDATE delivery SET state = 'waiting'", "was sent, is waiting"),
        ("DELETE FROM message", "is not there"),
        ("UPDATE recording SET duration = 2", "8000 samples"),
    ],
)
def test_what_was_acknowledged_and_is_gone_is_named(home, sql, named):
    home.run("PRAGMA foreign_keys = ON")
    home.run(sql)
    assert any(named in text for text in home.judge().wrong)


@pytest.mark.parametrize("content", [b"", b"fLaC" + bytes(100)])
def test_a_file_that_cannot_be_read_under_its_final_name_is_named(home, content):
    home.sound.write_bytes(content)
    assert any("a.flac" in text and "unreadable" in text for text in home.judge().wrong)


def test_a_kept_recording_without_a_file_is_named(home):
    home.sound.unlink()
    assert any("has no file" in text for text in home.judge().wrong)


def test_a_damaged_database_is_named(home):
    home.database.close()
    path = home.tree / "data/acoupi.db"
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = bytes(4096 * 3)
    path.write_bytes(content)
    assert home.judge().wrong


def test_a_file_system_beyond_its_journal_is_named(home, tmp_path):
    home.judge()
    image = tmp_path / "image"
    content = bytearray(image.read_bytes())
    # The group's description and what follows it.
    content[4096 : 4096 * 8] = bytes(4096 * 7)
    image.write_bytes(content)
    assert aftermath.check_file_system(image)
