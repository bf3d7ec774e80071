from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from acoupi import data
from acoupi.audio import durability
from acoupi.audio.guano import Guano
from acoupi.audio.soundfiles import (
    SoundFileError,
    SoundFormat,
    WavWriter,
    copy_durably,
    encode_flac,
    read_blocks,
    read_info,
    read_recording,
    read_samples,
)

RECORDING = data.Recording(
    created_on=datetime.datetime(2024, 5, 16, 6, 30, tzinfo=datetime.UTC),
    duration=0.5,
    samplerate=48000,
    audio_channels=2,
    deployment=data.Deployment(name="old: mill\n", latitude=1.5, longitude=-2.5),
    capture=data.CaptureReport(device="USB mic", first_frame=48000),
)
RNG = np.random.default_rng(1)


def write(path: Path, width: int = 2, channels: int = 2) -> np.ndarray:
    form = SoundFormat(48000, channels, width)
    samples = RNG.integers(-(2**15), 2**15, (24000, channels)) << 8 * (width - 2)
    raw = samples.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    with WavWriter(path, form, 24000, Guano.for_recording(RECORDING)) as writer:
        writer.write(raw)
        writer.finish()
    return samples / 2.0 ** (8 * width - 1)


@pytest.mark.parametrize("width", [2, 3, 4])
def test_samples_come_back_as_they_were_written(tmp_path, width):
    expected = write(tmp_path / "a.wav", width)
    samples, samplerate = read_samples(tmp_path / "a.wav")
    assert samplerate == 48000
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, expected, atol=2**-23)


def test_blocks_are_the_sound_in_pieces(tmp_path):
    write(tmp_path / "a.wav")
    samples, _ = read_samples(tmp_path / "a.wav")
    pieces = list(read_blocks(tmp_path / "a.wav", 7000))
    assert [len(piece) for piece in pieces] == [7000, 7000, 7000, 3000]
    np.testing.assert_array_equal(np.concatenate(pieces), samples)


def test_silence_that_takes_next_to_no_space_is_read_whole(tmp_path):
    silence = np.zeros((2_500_000, 1), dtype=np.int16)
    silence[1_234_567] = 2**14
    path = tmp_path / "a.flac"
    soundfile.write(path, silence, 48000)
    assert path.stat().st_size * 16 < len(silence)

    samples, samplerate = read_samples(path)

    assert samplerate == 48000
    np.testing.assert_array_equal(samples, silence / np.float32(2**15))


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("compression", [0.0, 0.4, 1.0])
def test_flac_keeps_every_sample_and_the_metadata(tmp_path, width, compression):
    source = tmp_path / "a.wav"
    write(source, width)
    target = encode_flac(source, tmp_path / "new" / "a.flac", compression)
    np.testing.assert_array_equal(read_samples(source)[0], read_samples(target)[0])
    info = read_info(target)
    assert info == read_info(source)
    assert read_recording(target) == RECORDING.model_copy(update={"path": target})
    assert [p.name for p in target.parent.iterdir()] == ["a.flac"]
    assert source.exists()


def test_flac_without_metadata_has_none(tmp_path):
    soundfile.write(tmp_path / "a.wav", [0.0] * 100, 48000, "PCM_16")
    info = read_info(encode_flac(tmp_path / "a.wav", tmp_path / "a.flac"))
    assert info.metadata is None


@pytest.mark.parametrize("rate", [384_000, 500_000])
def test_flac_holds_ultrasound(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", [0.0] * 1000, rate, "PCM_16")
    assert (
        read_info(encode_flac(tmp_path / "a.wav", tmp_path / "a.flac")).frames == 1000
    )


def test_what_flac_cannot_hold_is_refused_and_nothing_is_left(tmp_path):
    write(tmp_path / "wide.wav", width=4)
    write(tmp_path / "many.wav", channels=9)
    (tmp_path / "text.wav").write_text("hello")
    for name in ("wide", "many", "text"):
        with pytest.raises(SoundFileError):
            encode_flac(tmp_path / f"{name}.wav", tmp_path / "a.flac")
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".wav"] * 3


def test_a_flac_that_came_out_short_replaces_nothing(tmp_path, monkeypatch):
    write(tmp_path / "a.wav")
    real = soundfile.SoundFile.buffer_write
    monkeypatch.setattr(
        soundfile.SoundFile,
        "buffer_write",
        lambda self, block, dtype: real(self, bytes(block)[: len(block) // 2], dtype),
    )
    with pytest.raises(SoundFileError, match="of 24000 frames were compressed"):
        encode_flac(tmp_path / "a.wav", tmp_path / "a.flac")
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_describing_a_file_loads_no_library(tmp_path):
    write(tmp_path / "a.wav")
    encode_flac(tmp_path / "a.wav", tmp_path / "a.flac")
    code = (
        "import sys; from pathlib import Path\n"
        "from acoupi.audio.soundfiles import read_recording, repair, WavWriter\n"
        "for name in ('a.wav', 'a.flac'):\n"
        "    assert read_recording(Path(sys.argv[1]) / name).audio_channels == 2\n"
        "print([m for m in ('numpy', 'soundfile', 'cffi') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_recording_of_acoupi_is_rebuilt_from_its_file(tmp_path):
    write(tmp_path / "a.wav")
    rebuilt = read_recording(tmp_path / "a.wav")
    assert rebuilt == RECORDING.model_copy(update={"path": tmp_path / "a.wav"})


@pytest.mark.parametrize(
    "name", ["20240516_063000.WAV", "SM4_20240516_063000.wav", "x-20240516T063000.wav"]
)
def test_the_time_in_a_name_counts_when_the_metadata_tell_none(tmp_path, name):
    soundfile.write(tmp_path / name, [0.0] * 480, 48000, "PCM_16")
    recording = read_recording(tmp_path / name, RECORDING.deployment)
    assert recording.created_on == RECORDING.created_on
    assert recording.deployment == RECORDING.deployment
    assert recording.duration == 0.01


def test_else_the_age_of_the_file_counts(tmp_path):
    path = tmp_path / "99999999_999999.wav"
    soundfile.write(path, [0.0] * 96000, 48000, "PCM_16")
    ended = datetime.datetime(2024, 1, 1, 0, 0, 2, tzinfo=datetime.UTC)
    os.utime(path, (0, ended.timestamp()))
    recording = read_recording(path)
    assert recording.created_on == ended - datetime.timedelta(seconds=2)
    assert recording.deployment.name == "unknown"


@pytest.mark.parametrize("suffix", ["ogg", "aiff", "mp3"])
def test_other_formats_are_read(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.zeros(48000), 48000)
    assert read_recording(path).samplerate == 48000
    assert len(read_samples(path)[0]) >= 48000


@pytest.mark.parametrize("content", [b"", b"hello", b"RIFF", b"fLaC", b"OggS" * 100])
def test_what_is_no_sound_is_refused_by_name(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    for read in (read_info, read_recording, read_samples):
        with pytest.raises(SoundFileError, match=r"a\.wav"):
            read(path)
    with pytest.raises(SoundFileError, match=r"a\.wav"):
        list(read_blocks(path, 10))


def test_a_missing_file_is_told_from_a_damaged_one(tmp_path):
    for read in (read_info, read_recording, read_samples):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none.wav")


def test_a_file_without_sound_is_no_recording(tmp_path):
    soundfile.write(tmp_path / "a.wav", [], 48000, "PCM_16")
    with pytest.raises(SoundFileError, match="holds no sound"):
        read_recording(tmp_path / "a.wav")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=30), st.booleans())
def test_a_damaged_flac_header_is_read_or_refused(tmp_path_factory, place, junk, cut):
    folder = tmp_path_factory.getbasetemp() / "flac"
    if not folder.exists():
        folder.mkdir()
        write(folder / "a.wav")
        encode_flac(folder / "a.wav", folder / "a.flac")
    content = bytearray((folder / "a.flac").read_bytes())
    content[place : place + len(junk)] = junk
    path = folder / "damaged.flac"
    path.write_bytes(content[: place + len(junk)] if cut else content)
    try:
        valid = read_info(path).samplerate > 0
    except SoundFileError as error:
        valid = bool(str(error))
    assert valid


def test_a_copy_is_complete_or_absent(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.write_bytes(b"x" * 3_000_000)
    target = tmp_path / "target"
    assert copy_durably(source, target).read_bytes() == source.read_bytes()
    target.write_bytes(b"former")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durability.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        copy_durably(source, target)
    assert target.read_bytes() == b"former"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "target"]
