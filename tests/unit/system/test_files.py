"""Files appear complete or not at all."""

from __future__ import annotations

import os

import pytest

from acoupi.system.files import get_temp_files, write_durably


def test_temporary_sound_files_are_listed_and_nothing_else(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("b.wav", "a.WAV", "below/c.flac", "d.wav.part", "e.txt"):
        (tmp_path / name).touch()
    names = [path.name for path in get_temp_files(path=tmp_path)]
    assert sorted(names) == ["a.WAV", "b.wav", "c.flac"]


def test_a_directory_that_is_not_there_has_no_files(tmp_path):
    assert get_temp_files(path=tmp_path / "none") == []


def test_the_default_directory_can_be_listed():
    assert isinstance(get_temp_files(), list)


def test_a_file_has_its_permissions_from_the_start(tmp_path):
    before = os.umask(0)
    try:
        write_durably(tmp_path / "secret", b"x", 0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("operation", ["fsync", "replace", "fchmod"])
def test_a_failure_leaves_the_former_file_and_nothing_else(
    tmp_path, monkeypatch, operation
):
    (tmp_path / "file").write_bytes(b"former")

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, refuse)
        with pytest.raises(OSError, match="No space"):
            write_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"former"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
