from __future__ import annotations

import shutil
from typing import NamedTuple

import pytest

from acoupi.components.recorders.pending import PendingFiles


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def waiting(tmp_path):
    paths = [tmp_path / f"2026010{day}T000000000Z_aa.wav" for day in range(1, 6)]
    for path in reversed(paths):
        path.write_bytes(bytes(1000))
    (tmp_path / "20250101T000000000Z_aa.wav.part").write_bytes(bytes(1000))
    return paths


def test_nothing_is_deleted_within_the_bound(tmp_path, waiting):
    assert PendingFiles(tmp_path, 6000).make_room(1000) == []
    assert PendingFiles(tmp_path, None).make_room(1000) == []
    assert PendingFiles(tmp_path, None).list_files() == waiting


def test_the_oldest_go_first(tmp_path, waiting):
    assert PendingFiles(tmp_path, 4500).make_room(1000) == waiting[:2]
    assert PendingFiles(tmp_path, 4500).list_files() == waiting[2:]


def test_the_newest_stays_whatever_the_bound(tmp_path, waiting):
    assert PendingFiles(tmp_path, 1).make_room(1000) == waiting[:4]
    assert waiting[4].exists()


def test_a_nearly_full_file_system_makes_room_too(tmp_path, waiting, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(20_000, 18_500, 1500))
    # 1,500 free, of which 1,000 are left free: 700 are missing for 1,200 more.
    assert PendingFiles(tmp_path, None).make_room(1200) == waiting[:1]


def test_a_missing_directory_has_nothing_to_delete(tmp_path):
    assert PendingFiles(tmp_path / "nowhere", 10).make_room(1000) == []


def test_what_was_recorded_before_the_clock_was_set_back_is_older(tmp_path, waiting):
    pending = PendingFiles(tmp_path, 6000)
    assert pending.list_files() == waiting
    later = tmp_path / "20200101T000000000Z_aa.wav"
    later.write_bytes(bytes(1000))
    assert pending.make_room(2000) == waiting[:2]
    assert pending.list_files() == [*waiting[2:], later]


def test_the_excess_is_what_waits_beyond_a_share_of_the_bound(
    tmp_path, waiting, monkeypatch
):
    assert PendingFiles(tmp_path, 8000).excess(0.5) == 1000
    assert PendingFiles(tmp_path, 80_000).excess(0.5) == 0
    # Room for 3000 more on the file system, so that 8000 may wait at most.
    usage = Usage(100_000, 92_000, 8000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert PendingFiles(tmp_path, None).excess(0.5) == 1000
