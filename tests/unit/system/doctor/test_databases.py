"""Each fault of the databases is named, without touching them."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys

import pytest

from acoupi.components import SqliteStore
from acoupi.system.doctor.databases import probe
from acoupi.testing import make_recording


@pytest.fixture
def store(sensor):
    """The sensor's store, with some recordings, closed."""
    path = sensor.path("paths", "db_metadata")
    store = SqliteStore(path)
    for number in range(200):
        store.store_recording(make_recording(path.with_name(f"{number}.wav")))
    store.database.close()
    change(path, "UPDATE recording SET state = 'deleted'")
    assert sensor.find() == {}
    return path


def change(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def damage_a_page(path):
    content = bytearray(path.read_bytes())
    # Not the first one: as it is when a card loses a block.
    for start in range(2 * 4096, len(content), 4096):
        content[start : start + 4096] = b"\xa5" * 4096
    path.write_bytes(content)


FAULTS = {
    "torn": (damage_a_page, "database-damaged"),
    "overwritten": (lambda p: p.write_bytes(b"lost" * 5000), "database-damaged"),
    "of a newer version": (
        lambda p: change(p, "PRAGMA user_version = 999"),
        "database-newer",
    ),
    "of another program": (
        lambda p: change(p, "PRAGMA application_id = 7"),
        "database-foreign",
    ),
    "set aside": (
        lambda p: p.with_name(f"{p.name}.corrupt-20260101T000000").touch(),
        "database-set-aside",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_the_database_is_named_alone(sensor, store, fault):
    inject, code = FAULTS[fault]
    inject(store)
    before = store.read_bytes()
    found = sensor.find()
    assert set(found) == {code}
    assert str(store) in found[code].evidence
    assert store.read_bytes() == before


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM summary")
print("held", flush=True)
sys.stdin.read()
connection.execute("DELETE FROM loss")
connection.execute("COMMIT")
"""


@pytest.fixture(params=["PRAGMA journal_mode=WAL", "PRAGMA journal_mode=DELETE"])
def holder(store, request):
    command = [sys.executable, "-c", HOLD, str(store), request.param]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.stdin.close()
        # The examination took no lock, and ended none.
        assert process.wait(30) == 0


def test_a_database_that_something_holds(sensor, holder, monkeypatch):
    monkeypatch.setattr("acoupi.system.doctor.databases.LOCKED_FOR", 0.3)
    found = sensor.find()
    assert set(found) == {"database-locked"}
    assert str(holder.pid) in found["database-locked"].evidence


def test_a_database_that_is_read_is_well(sensor, store):
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM recording").fetchone()
        assert sensor.find() == {}


def test_recordings_that_wait_longer_and_longer(sensor, store):
    numbers = (
        "WITH RECURSIVE n (i) AS (SELECT 1000 UNION ALL SELECT i+1 FROM n LIMIT 500)"
    )
    change(
        store,
        f"{numbers} INSERT INTO recording (number, id, deployment, created_on, "
        "duration, samplerate) SELECT i, i, 1, '2026-01-02T03:04:05', 3, 48000 FROM n",
    )
    found = sensor.find()
    assert set(found) == {"backlog"}
    assert "500" in found["backlog"].evidence
    assert "2026-01-02" in found["backlog"].evidence


def test_what_was_lost_in_the_last_day(sensor, store):
    lost = SqliteStore(store)
    lost.add_loss("samples", 480, "the machine was too busy")
    lost.database.close()
    found = sensor.find()
    assert set(found) == {"losses"}
    assert "480 samples" in found["losses"].evidence
    assert "too busy" in found["losses"].evidence


def test_what_was_lost_long_ago_is_history(sensor, store):
    change(
        store,
        "INSERT INTO loss VALUES ('2020-01-01', 'samples', 'x', 9, '2020-01-01T00:00')",
    )
    assert sensor.find() == {}


def test_a_database_that_the_sensor_must_not_read(open_home, codes_for_user):
    path = open_home.settings.home / "acoupi.db"
    SqliteStore(path).get_current_deployment()
    open_home.change("paths", "db_metadata", to=str(path))
    open_home.change("messaging", "messages_db", to=str(path))
    path.chmod(0o600)
    found = codes_for_user(12345, probe, open_home.settings)
    assert found == ["database-unreadable"]
