"""Databases of former and later versions, and what a cut in the middle leaves."""

from __future__ import annotations

import datetime
import itertools
import logging
import resource
import shutil
import signal
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from interruptions import kill_everywhere

from acoupi import data
from acoupi.components import MicrophoneConfig, MicrophoneRecorder
from acoupi.components.outbox import SqliteMessageStore
from acoupi.components.stores import (
    DatabaseUnavailable,
    NewerSchema,
    SqliteStore,
    schema,
)
from acoupi.tasks import generate_recording_task
from acoupi.testing import make_model_output, make_recording, wait_until

NEWEST = max(schema.migrations())
FORMER = range(1, NEWEST)
START = datetime.datetime(2026, 5, 1, 4, tzinfo=datetime.UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "acoupi.db"


def write_former(path: Path, version: int, recordings: int = 5) -> None:
    """Write a database as the version with that schema left it."""
    path.parent.mkdir(exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    for number in range(1, version + 1):
        schema._apply(connection, number, schema.migrations()[number])
    connection.execute("PRAGMA journal_mode = WAL")
    # Scripts stay as they were published, and so do the tables that they make.
    for number in range(recordings):
        connection.execute(
            "INSERT OR IGNORE INTO deployment (number, id, name, started_on) "
            "VALUES (1, '11111111-1111-4111-8111-111111111111', 'wood', ?)",
            (START.isoformat(timespec="microseconds"),),
        )
        connection.execute(
            "INSERT INTO recording (id, deployment, created_on, duration, samplerate, "
            "audio_channels, time_expansion, path, state) "
            "VALUES (?, 1, ?, 3, 48000, 1, 1, ?, 'kept')",
            (
                f"22222222-2222-4222-8222-{number:012}",
                (START + datetime.timedelta(seconds=number)).isoformat(
                    timespec="microseconds"
                ),
                f"/recordings/{number}.flac",
            ),
        )
        connection.execute(
            "INSERT INTO model_output (id, recording, name_model, created_on) "
            "VALUES (?, ?, 'model', '2026-05-01T05:00:00.000000+00:00')",
            (f"33333333-3333-4333-8333-{number:012}", number + 1),
        )
        connection.execute(
            "INSERT INTO message (id, content, created_on) "
            "VALUES (?, 'found', '2026-05-01T05:00:00.000000+00:00')",
            (f"44444444-4444-4444-8444-{number:012}",),
        )
        connection.execute(
            "INSERT INTO delivery (message, destination) VALUES (?, 'mqtt')",
            (number + 1,),
        )
    connection.execute(
        "INSERT INTO loss VALUES ('2026-05-01', 'samples', 'late', 7, '2026-05-01')"
    )
    connection.close()


def content(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of each table; of columns that later versions have, too."""
    connection = sqlite3.connect(path)
    tables = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
        )
    ]
    rows = {
        table: connection.execute(f"SELECT * FROM {table}").fetchall()
        for table in tables
    }
    connection.close()
    return rows


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    assert verdict == "ok"
    return version


def migrated(path: Path, before: dict[str, list[tuple[object, ...]]]) -> None:
    """Check that a database is of today and lacks nothing that it had."""
    store = SqliteStore(path)
    store.check()
    assert [r.path.name for r, _ in store.get_recordings()] == [
        f"{number}.flac" for number in range(5)
    ]
    assert store.counts().kept == store.counts().model_outputs == 5
    assert store.total_losses() == {"samples": 7}
    outbox = SqliteMessageStore(path, ["mqtt"])
    assert outbox.counts()["mqtt"].waiting == 5
    assert store.get_current_deployment().name == "wood"
    store.database.close()
    assert version_of(path) == NEWEST
    after = content(path)
    for table, rows in before.items():
        assert [row[: len(rows[0])] for row in after[table]] == rows, table


@pytest.mark.parametrize("version", FORMER)
def test_a_store_of_each_former_schema_is_migrated_with_a_backup(path, version):
    write_former(path, version)
    before = content(path)
    migrated(path, before)
    backup = path.with_name(f"acoupi.db.schema-{version}.backup")
    assert version_of(backup) == version
    assert content(backup) == before


def test_the_scripts_that_were_published_are_never_changed():
    import hashlib

    known = {
        1: "e49e90c6e341a368",
        2: "adad87cd54aa2540",
    }
    found = {
        number: hashlib.sha256(script.encode()).hexdigest()[:16]
        for number, script in schema.migrations().items()
    }
    assert {number: found[number] for number in known} == known


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(
    "stride",
    [
        pytest.param(3, id="every third step"),
        pytest.param(1, id="every step", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("version", [0, *FORMER])
def test_a_migration_can_be_killed_anywhere(memory_path, version, stride):
    place = {}

    def prepare(trial):
        place["path"] = path = memory_path / str(trial) / "acoupi.db"
        path.parent.mkdir()
        if version:
            write_former(path, version)
            place["before"] = content(path)

    def act():
        SqliteStore(place["path"]).counts()

    def check(_killed):
        path = place["path"]
        if not version:
            SqliteStore(path).check()
            SqliteStore(path).database.close()
            assert version_of(path) == NEWEST
        else:
            migrated(path, place["before"])
            # Made by the run that was killed, or by the one that went on.
            (backup,) = path.parent.glob("*.backup")
            assert version_of(backup) == version
            assert content(backup) == place["before"]
        assert not list(path.parent.glob("*.part"))
        shutil.rmtree(path.parent)

    trials = kill_everywhere(prepare, act, check, stride)
    print(f"migration from schema {version}: {trials} kills")
    assert trials > 20 / stride


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_disk_that_fills_up_during_a_migration_changes_nothing(memory_path):
    path = memory_path / "data" / "acoupi.db"
    write_former(path, 1)
    before = content(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    refused = 0
    try:
        for kilobytes in itertools.count(0, 4):
            resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, hard))
            try:
                SqliteStore(path).counts()
            except DatabaseUnavailable:
                refused += 1
                SqliteStore(path).database.close()
            else:
                break
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert version_of(path) in range(1, NEWEST + 1)
            assert not list(path.parent.glob("*.part"))
    finally:
        signal.signal(signal.SIGXFSZ, handler)
    assert refused > 3
    migrated(path, before)


def test_a_disk_without_room_for_a_backup_does_not_stop_the_sensor(
    path, monkeypatch, caplog
):
    write_former(path, 1)
    before = content(path)
    full = SimpleNamespace(total=10**9, used=10**9, free=10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with caplog.at_level(logging.ERROR):
        migrated(path, before)
    assert "migrated without a backup" in caplog.text
    assert not list(path.parent.glob("*.backup"))


def test_recording_goes_on_beside_a_store_from_the_future(path, tmp_path):
    store = SqliteStore(path)
    first = make_recording(tmp_path / "first.wav")
    store.store_recording(first)
    store.database.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    future = path.read_bytes()
    recorder = MicrophoneRecorder(
        MicrophoneConfig(source="signal", samplerate=8000, source_realtime=True),
        duration=0.2,
        dirpath=tmp_path / "tmp",
    )
    task = generate_recording_task(recorder, store)
    recorder.start(store.get_current_deployment)
    try:
        wait_until(lambda: recorder.recordings_made >= 3, what="recordings")
        with pytest.raises(NewerSchema, match="schema 99; this version knows"):
            list(task())
        with pytest.raises(NewerSchema, match="Install the newer version again"):
            store.store_model_output(make_model_output(first))
        assert path.read_bytes() == future, "it is left alone"
        assert recorder.healthy
        made = recorder.recordings_made
        wait_until(lambda: recorder.recordings_made > made, what="going on")
        # The right version is there again: what waited is stored, in order.
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA user_version = {NEWEST}")
        connection.close()
        taken = list(task())
    finally:
        recorder.stop()
    taken += list(task())
    assert len(taken) == recorder.recordings_made
    frames = [recording.capture.first_frame for recording in taken]
    assert frames == sorted(frames)
    assert recorder.samples_lost == 0
    stored = {recording.id for recording, _ in store.get_recordings()}
    assert stored == {first.id, *(recording.id for recording in taken)}
    assert isinstance(store.get_current_deployment(), data.Deployment)
