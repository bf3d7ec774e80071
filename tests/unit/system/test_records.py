"""Databases are read without a trace, whatever is in them."""

from __future__ import annotations

import sqlite3

import pytest

from acoupi.system.records import read_messages, read_recordings


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
