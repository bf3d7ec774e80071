"""One sqlite file: durable, migrated forward, set aside when broken."""

# ruff: noqa: PT012  transactions are undone by raising inside them

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

import pytest

from acoupi.components.stores import (
    CorruptDatabase,
    Database,
    DatabaseUnavailable,
    ForeignDatabase,
    NewerSchema,
    SqliteStore,
    database,
    schema,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "acoupi.db"


def insert(connection, number):
    connection.execute(
        "INSERT INTO loss VALUES ('2026-01-01', 'test', ?, 1, '2026-01-01')",
        (str(number),),
    )


def count(db: Database) -> int:
    with db.reading() as connection:
        return connection.execute(
            "SELECT count(*) FROM loss WHERE kind = 'test'"
        ).fetchone()[0]


def test_nothing_is_opened_before_the_first_use(path):
    Database.at(path)
    SqliteStore(path)
    assert not path.parent.exists()


def test_one_path_gives_one_database_however_it_is_spelt(path):
    first = Database.at(path)
    assert Database.at(str(path.parent / ".." / "data" / "acoupi.db")) is first


def test_commits_are_flushed_and_readers_do_not_block(path):
    with Database.at(path).reading() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_transaction_that_raises_leaves_nothing(path):
    db = Database.at(path)
    with pytest.raises(RuntimeError), db.transaction() as connection:
        insert(connection, 1)
        raise RuntimeError
    assert count(db) == 0


def test_an_inner_transaction_that_raises_undoes_only_itself(path):
    db = Database.at(path)
    with db.transaction() as connection:
        insert(connection, 1)
        with pytest.raises(RuntimeError), db.transaction():
            insert(connection, 2)
            with db.transaction():
                insert(connection, 3)
            raise RuntimeError
        insert(connection, 4)
    assert count(db) == 2


def test_an_outer_transaction_that_raises_undoes_the_inner_ones(path):
    db = Database.at(path)
    with pytest.raises(RuntimeError), db.transaction():
        with db.transaction() as connection:
            insert(connection, 1)
        raise RuntimeError
    assert count(db) == 0


def test_threads_take_turns(path):
    db = Database.at(path)

    def work(start):
        for number in range(start, start + 25):
            with db.transaction() as connection:
                insert(connection, number)

    threads = [threading.Thread(target=work, args=(100 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(db) == 100


def test_a_forked_child_opens_the_file_for_itself(path):
    db = Database.at(path)
    with db.transaction() as connection:
        insert(connection, 1)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with db.transaction() as connection:
                insert(connection, 2)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    with db.transaction() as connection:
        insert(connection, 3)
    assert count(db) == 3
    db.check()


def test_a_fork_during_a_transaction_does_not_lock_the_child_out(path):
    db = Database.at(path)
    count(db)
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with db.transaction():
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(30)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = count(db)
        finally:
            os._exit(status)
    leave.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_a_newer_schema_is_refused_with_the_reason_and_left_alone(path):
    count(Database.at(path))
    Database.at(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(NewerSchema, match=r"acoupi\.db has schema 99.*up to \d"):
        count(Database.at(path))
    assert path.read_bytes() == before


def test_the_database_of_another_program_is_refused_and_left_alone(path):
    path.parent.mkdir()
    raw = sqlite3.connect(path)
    raw.execute("CREATE TABLE recording (id)")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(ForeignDatabase, match="another program"):
        count(Database.at(path))
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000],
    ids=["text", "header only"],
)
def test_a_file_that_is_no_database_is_set_aside_and_work_goes_on(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    db = Database.at(path)
    with db.transaction() as connection:
        insert(connection, 1)
    assert count(db) == 1
    (aside,) = path.parent.glob("acoupi.db.corrupt-*")
    assert aside.read_bytes() == content
    (loss,) = [x for x in SqliteStore(path).get_losses() if x.kind == "database"]
    assert aside.name in loss.reason


def test_damage_found_while_working_is_set_aside_and_work_goes_on(path):
    db = Database.at(path)
    with db.transaction() as connection:
        for number in range(3000):
            insert(connection, number)
    db.close()
    with db.reading():
        pass
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xa5" * (size - size // 2))
    with pytest.raises(CorruptDatabase, match="was moved to"):
        count(db)
    with db.transaction() as connection:
        insert(connection, 1)
    assert count(db) == 1
    (aside,) = path.parent.glob("acoupi.db.corrupt-*")
    (loss,) = [x for x in SqliteStore(path).get_losses() if x.kind == "database"]
    assert aside.name in loss.reason


def test_a_second_process_follows_to_the_new_file(path):
    db = Database.at(path)
    with db.transaction() as connection:
        insert(connection, 1)
    other = Database(path)  # what another process would hold
    assert count(other) == 1
    db._set_aside("test")
    with db.transaction() as connection:
        insert(connection, 2)
        insert(connection, 3)
    assert count(other) == 2
    # it finds its old file damaged too late: the new one must stay
    other._inode = (0, 0)
    other._set_aside("test")
    assert count(db) == 2
    other.close()


def test_a_full_disk_leaves_nothing_half_written_and_work_resumes(path):
    db = Database.at(path)
    with db.transaction() as connection:
        insert(connection, 1)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    with db.reading() as connection:
        pass
    db._connection.execute(f"PRAGMA max_page_count = {pages}")
    with (
        pytest.raises(DatabaseUnavailable, match="disk is full"),
        db.transaction() as connection,
    ):
        for number in range(10_000):
            insert(connection, f"more {number}")
    assert count(db) == 1
    db._connection.execute("PRAGMA max_page_count = 1000000")
    with db.transaction() as connection:
        insert(connection, 2)
    assert count(db) == 2
    db.check()


def test_a_full_disk_inside_an_inner_transaction_undoes_all(path):
    db = Database.at(path)
    with db.transaction() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    db._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DatabaseUnavailable), db.transaction() as connection:
        insert(connection, 1)
        with db.transaction():
            for number in range(10_000):
                insert(connection, f"more {number}")
    assert count(db) == 0


@pytest.mark.parametrize("depth", [1, 2])
def test_nothing_is_committed_where_flushing_only_pretends_to(path, monkeypatch, depth):
    db = Database.at(path)
    with db.transaction() as connection:
        insert(connection, 1)
    # What the kernel forces to be read-only still takes the writes of open files.
    real = os.statvfs(path)
    fields = [*real[:8], real.f_flag | os.ST_RDONLY, real.f_namemax]
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
        with (
            pytest.raises(DatabaseUnavailable, match="read-only"),
            contextlib.ExitStack() as stack,
        ):
            for number in range(depth):
                insert(stack.enter_context(db.transaction()), number + 2)
        assert count(db) == 1
    with db.transaction() as connection:
        insert(connection, 5)
    assert count(db) == 2


def test_a_commit_to_a_file_that_is_gone_is_no_commit(path):
    db = Database.at(path)
    with (
        pytest.raises(DatabaseUnavailable, match="No such file"),
        db.transaction() as connection,
    ):
        insert(connection, 1)
        path.unlink()
    with db.transaction() as connection:
        insert(connection, 2)
    assert count(db) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseUnavailable, match="cannot be used"):
        count(Database.at(tmp_path / "file" / "acoupi.db"))


def test_a_busy_database_is_named(path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    count(Database.at(path))
    raw = sqlite3.connect(path, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    with (
        pytest.raises(DatabaseUnavailable, match="another process holds it"),
        Database.at(path).transaction(),
    ):
        pass
    raw.close()


def test_a_former_schema_is_backed_up_and_migrated(path, monkeypatch):
    db = Database.at(path)
    with db.transaction() as connection:
        insert(connection, 1)
    db.close()
    newest = max(schema.migrations())
    scripts = {
        **schema.migrations(),
        newest + 1: "ALTER TABLE loss ADD COLUMN remark TEXT;",
    }
    monkeypatch.setattr(schema, "migrations", lambda: scripts)
    with db.reading() as connection:
        assert connection.execute("SELECT remark FROM loss").fetchall() == [(None,)]
    (backup,) = path.parent.glob("*.backup")
    raw = sqlite3.connect(backup)
    assert raw.execute("PRAGMA user_version").fetchone() == (newest,)
    assert raw.execute("SELECT count(*) FROM loss").fetchone() == (1,)
    raw.close()


def test_a_migration_that_fails_changes_nothing(path, monkeypatch):
    db = Database.at(path)
    with db.transaction() as connection:
        insert(connection, 1)
    db.close()
    newest = max(schema.migrations())
    scripts = {
        **schema.migrations(),
        newest + 1: "ALTER TABLE loss ADD COLUMN remark TEXT; SELECT nonsense;",
    }
    with monkeypatch.context() as patch:
        patch.setattr(schema, "migrations", lambda: scripts)
        with pytest.raises(sqlite3.OperationalError):
            count(db)
    assert count(db) == 1
    with db.reading() as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (newest,)
