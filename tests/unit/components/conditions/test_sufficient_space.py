"""Enough free space to record."""

from __future__ import annotations

import datetime
import shutil
from typing import NamedTuple

import pytest

from acoupi.components.conditions import HasSufficientSpace
from acoupi.errors import ConfigurationError


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def with_free(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free))


@pytest.mark.parametrize(
    ("min_space", "unit", "smallest"),
    [
        (1024, "MB", 1_024_000_000),
        (1, "GB", 10**9),
        (1, "GiB", 2**30),
        (500, "kB", 500_000),
        (500, "KB", 500_000),
        (7, "B", 7),
        (0.5, "tb", 5 * 10**11),
    ],
)
def test_recording_needs_at_least_the_space_asked_for(
    monkeypatch, tmp_path, min_space, unit, smallest
):
    condition = HasSufficientSpace(path=tmp_path, min_space=min_space, unit=unit)
    with_free(monkeypatch, smallest)
    assert condition.should_record()
    with_free(monkeypatch, smallest - 1)
    assert not condition.should_record(datetime.datetime.now(datetime.UTC))


def test_by_default_a_gigabyte_or_so_is_kept_free(monkeypatch, tmp_path):
    with_free(monkeypatch, 1_024_000_000)
    assert HasSufficientSpace(path=tmp_path).should_record()
    with_free(monkeypatch, 1_023_999_999)
    assert not HasSufficientSpace(path=tmp_path).should_record()


def test_the_folder_need_not_exist_yet(tmp_path):
    path = tmp_path / "not" / "yet" / "there"
    assert HasSufficientSpace(path=path, min_space=1, unit="B").should_record()
    assert not path.exists()


def test_a_file_system_that_cannot_be_asked_does_not_stop_recording(
    monkeypatch, tmp_path, caplog
):
    def fail(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shutil, "disk_usage", fail)
    condition = HasSufficientSpace(path=tmp_path)
    assert condition.should_record()
    assert condition.should_record()
    (record,) = caplog.records
    assert str(tmp_path) in record.message
    assert "recording goes on" in record.message


def test_bad_settings_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="unit is 'pounds'"):
        HasSufficientSpace(path=tmp_path, unit="pounds")
    for value in (0, -1, float("nan")):
        with pytest.raises(ConfigurationError, match="min_space is"):
            HasSufficientSpace(path=tmp_path, min_space=value)
