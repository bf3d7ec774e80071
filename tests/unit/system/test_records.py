"""Databases are read without a trace, whatever is in them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest

from acoupi.components import SqliteStore
from acoupi.system.records import read_messages, read_recordings
from acoupi.testing import make_model_output, make_recording


@pytest.mark.parametrize("read", [read_messages, read_recordings])
def test_what_is_not_there_yet_is_none(tmp_path, read):
    assert read(tmp_path / "none.db") is None
    (tmp_path / "empty.db").touch()
    assert read(tmp_path / "empty.db") is None
    assert read(tmp_path) is None


@pytest.mark.parametrize("read", [read_messages, read_recordings])
def test_another_database_is_an_error_not_a_crash(tmp_path, read):
    path = tmp_path / "other #1?.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(sqlite3.Error):
        read(path)
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_counted_is_what_the_store_holds(tmp_path):
    store = SqliteStore(tmp_path / "store.db")
    recordings = [make_recording(tmp_path / f"{number}.wav") for number in range(3)]
    for recording in recordings:
        store.store_recording(recording)
        store.store_model_output(make_model_output(recording))
    found = read_recordings(tmp_path / "store.db")
    assert found["recordings"] == found["undecided"] == 3
    assert found["detections"] == 3
    assert found["last_detection_on"]


def test_a_million_detections_are_counted_at_once(tmp_path):
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    store.store_recording(make_recording(tmp_path / "a.wav"))
    with closing(sqlite3.connect(path)) as connection, connection:
        # As the triggers would leave it, without running them a million times.
        for trigger in ("recording_inserted", "model_output_inserted"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("DROP TRIGGER detection_inserted")
        numbers = (
            "WITH RECURSIVE n (i) AS "
            "(SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {most}) "
        )
        connection.execute(
            numbers.format(most=100_000)
            + "INSERT INTO recording (number, id, deployment, created_on, duration, "
            "samplerate, state) SELECT i, i, 1, '2026', 3, 48000, 'kept' FROM n"
        )
        connection.execute(
            "INSERT INTO model_output SELECT number, id, number, 'm', '2026' "
            "FROM recording"
        )
        connection.execute(
            numbers.format(most=1_000_001)
            + "INSERT INTO detection (output, position, id, detection_score, "
            "prediction_type) SELECT i / 10 + 1, i, '', 1, 'event' FROM n WHERE "
            "i / 10 < 100000"
        )
        connection.execute("UPDATE total SET count = 999998 WHERE name = 'detections'")
        connection.execute("UPDATE total SET count = 99999 WHERE name = 'kept'")
    began = time.process_time()
    found = read_recordings(path)
    assert time.process_time() - began < 0.3
    assert found["recordings"] == 100_000
    assert found["detections"] == 999_998


STORE_AND_DIE = """
import os, sys
from pathlib import Path
from acoupi.components import SqliteStore
from acoupi.testing import make_recording

store = SqliteStore(Path(sys.argv[1]))
store.store_recording(make_recording(Path(sys.argv[1]).with_name("a.wav")))
os._exit(9)
"""


def test_what_a_killed_sensor_left_is_read_and_left_as_it_is(tmp_path):
    path = tmp_path / "store.db"
    subprocess.run([sys.executable, "-c", STORE_AND_DIE, path], check=False)

    def content():
        return {
            file.name: (file.read_bytes(), file.stat().st_mtime_ns)
            for file in tmp_path.iterdir()
        }

    before = content()
    assert "store.db-wal" in before
    assert read_recordings(path)["recordings"] == 1
    assert content() == before
