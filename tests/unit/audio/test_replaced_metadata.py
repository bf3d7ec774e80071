"""Metadata of a finished file can be corrected; its sound stays bit for bit."""

from __future__ import annotations

import os
import random

import pytest

from acoupi.audio import flac
from acoupi.audio.guano import Guano
from acoupi.audio.soundfiles import (
    SoundFileError,
    SoundFormat,
    WavWriter,
    encode_flac,
    read_info,
    read_samples,
    replace_metadata,
)

METADATA = Guano({"Make": "acoupi", "Acoupi|Clock Corrected": "no"})
SOUND = SoundFormat(8000)
FRAMES = 20_000


def write(path, metadata=METADATA):
    with WavWriter(path, SOUND, FRAMES, METADATA) as writer:
        writer.write(random.Random(1).randbytes(2 * FRAMES))
        return writer.finish(metadata)


@pytest.fixture
def file(tmp_path):
    return encode_flac(write(tmp_path / "a.wav"), tmp_path / "a.flac")


def corrected(path) -> Guano:
    metadata = read_info(path).metadata
    metadata["Acoupi|Clock Corrected"] = "yes"
    return metadata


def test_a_flac_written_here_is_corrected_in_place(file):
    sound, inode, size = read_samples(file)[0], file.stat().st_ino, file.stat().st_size
    metadata = corrected(file)
    replace_metadata(file, metadata)
    assert read_info(file).metadata == metadata
    assert (file.stat().st_ino, file.stat().st_size) == (inode, size)
    assert (read_samples(file)[0] == sound).all()


def test_what_does_not_fit_goes_into_a_copy(file):
    import soundfile

    sound, inode = read_samples(file)[0], file.stat().st_ino
    metadata = Guano({**METADATA, "Note": "é" * 5000})
    replace_metadata(file, metadata)
    assert file.stat().st_ino != inode
    assert read_info(file).metadata == metadata
    assert (read_samples(file)[0] == sound).all()
    with soundfile.SoundFile(file) as opened:
        assert opened.seek(1000) == 1000
        assert len(opened.read(500)) == 500
    # Beyond a page a write could be torn: into a copy again.
    inode = file.stat().st_ino
    replace_metadata(file, METADATA)
    assert file.stat().st_ino != inode
    assert read_info(file).metadata == METADATA
    assert (read_samples(file)[0] == sound).all()
    assert [path.name for path in sorted(file.parent.iterdir())] == ["a.flac", "a.wav"]


def test_a_copy_that_fails_leaves_the_file_as_it_was(file, monkeypatch):
    before = file.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(flac, "publish", fail)
    with pytest.raises(OSError, match="No space left"):
        replace_metadata(file, Guano({"Note": "x" * 5000}))
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".*"))


def test_other_comments_of_a_flac_stay(tmp_path):
    import soundfile

    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16", format="FLAC") as opened:
        opened.title = "Dawn chorus"
        opened.comment = METADATA.format()
        opened.artist = "Somebody"
        opened.write([0.1] * 100)
    replace_metadata(path, corrected(path))
    with soundfile.SoundFile(path) as opened:
        assert (opened.title, opened.artist) == ("Dawn chorus", "Somebody")
        assert Guano.parse(opened.comment)["Acoupi|Clock Corrected"] == "yes"


def test_a_flac_without_metadata_is_refused(tmp_path):
    import soundfile

    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16", format="FLAC") as opened:
        opened.write([0.1] * 100)
    before = path.read_bytes()
    with pytest.raises(SoundFileError, match="no metadata"):
        replace_metadata(path, METADATA)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [4, 30, 60, 100, 200])
def test_a_cut_flac_is_refused_and_not_written(file, cut):
    content = file.read_bytes()[:cut]
    file.write_bytes(content)
    with pytest.raises(SoundFileError):
        replace_metadata(file, METADATA)
    assert file.read_bytes() == content


@pytest.mark.parametrize("length", [*range(3900, 4200, 7), 9000])
def test_metadata_of_any_length_leave_room_for_a_correction(tmp_path, length):
    grown = Guano({**METADATA, "Note": "x" * length})
    path = write(tmp_path / "a.wav", grown)
    sound = read_samples(path)[0]
    metadata = corrected(path)
    assert metadata["Note"] == "x" * length
    replace_metadata(path, metadata)
    assert read_info(path).metadata == metadata
    assert (read_samples(path)[0] == sound).all()
    assert os.listdir(tmp_path) == ["a.wav"]  # noqa: PTH208  names only
