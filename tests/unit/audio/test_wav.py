from __future__ import annotations

import io
import os
import struct
import tempfile
import wave
from pathlib import Path

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from acoupi.audio.guano import Guano
from acoupi.audio.soundfiles import (
    SoundFileError,
    SoundFormat,
    WavWriter,
    read_info,
    repair,
    replace_metadata,
)
from acoupi.audio.wav import WavContent, build_header, read_wav

MONO = SoundFormat(48000)
METADATA = Guano({"Note": "hello", "Length": "1"})


def sound(frames: int, form: SoundFormat = MONO) -> bytes:
    return bytes(
        (7 * index + index // 251) % 256 for index in range(frames * form.frame_size)
    )


def write(path: Path, frames: int = 1000, form: SoundFormat = MONO) -> Path:
    with WavWriter(path, form, frames, METADATA) as writer:
        writer.write(sound(frames, form))
        return writer.finish()


def read_or_reason(content: bytes) -> WavContent | str:
    try:
        return read_wav(io.BytesIO(content))
    except SoundFileError as error:
        return str(error)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("frames", [1, 999])
def test_other_readers_find_the_same_sound(tmp_path, channels, width, frames):
    form = SoundFormat(384_000, channels, width)
    path = write(tmp_path / "a.wav", frames, form)
    with wave.open(str(path)) as file:
        assert file.getparams()[:4] == (channels, width, 384_000, frames)
        assert file.readframes(frames + 1) == sound(frames, form)
    info = soundfile.info(path)
    assert (info.frames, info.channels, info.samplerate) == (frames, channels, 384_000)
    assert path.stat().st_size % 2 == 0


def test_the_file_has_no_final_name_before_it_is_finished(tmp_path):
    path = tmp_path / "new" / "a.wav"
    writer = WavWriter(path, MONO, 10, METADATA)
    writer.write(sound(10))
    assert [p.name for p in path.parent.iterdir()] == ["a.wav.part"]
    writer.finish()
    assert [p.name for p in path.parent.iterdir()] == ["a.wav"]


def test_an_abandoned_file_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), WavWriter(tmp_path / "a", MONO, 10, METADATA):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_fewer_frames_than_planned_make_a_shorter_file(tmp_path):
    writer = WavWriter(tmp_path / "a.wav", MONO, 1000, METADATA)
    writer.write(sound(3))
    info = read_info(writer.finish())
    assert (info.frames, info.complete) == (3, True)


def test_more_frames_than_planned_are_refused(tmp_path):
    with WavWriter(tmp_path / "a.wav", MONO, 2, METADATA) as writer:
        writer.write(sound(2))
        with pytest.raises(ValueError, match="more than the 2 frames planned"):
            writer.write(sound(1))


def test_a_file_beyond_four_gigabytes_is_refused_at_once(tmp_path):
    with pytest.raises(SoundFileError, match="4 GiB"):
        WavWriter(tmp_path / "a.wav", MONO, 2**31, METADATA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [10, 4000, 4032, 4040, 20_001])
@pytest.mark.parametrize("frames", [3, 1000])
def test_metadata_may_grow_until_the_end(tmp_path, length, frames):
    form = SoundFormat(48000, 1, 3)
    writer = WavWriter(tmp_path / "a.wav", form, 1000, METADATA)
    writer.write(sound(frames, form))
    final = Guano({"Note": "x" * length})
    path = writer.finish(final)
    assert read_info(path).metadata == final
    with wave.open(str(path)) as file:
        assert file.readframes(2000) == sound(frames, form)
    riff_size = struct.unpack("<I", path.read_bytes()[4:8])[0]
    assert riff_size == path.stat().st_size - 8


def test_long_sound_is_flushed_while_it_is_written(tmp_path, monkeypatch):
    flushed = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (flushed.append(1), real(fd)))
    form = SoundFormat(100)
    with WavWriter(tmp_path / "a.wav", form, 2000, METADATA) as writer:
        for _ in range(20):
            writer.write(sound(100, form))
        writer.finish()
    assert 1 <= len(flushed) <= 4


def test_an_error_of_a_flush_in_the_background_is_not_lost(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    form = SoundFormat(10)
    writer = WavWriter(tmp_path / "a.wav", form, 100, METADATA)
    writer.write(sound(60, form))
    with pytest.raises(OSError, match="Input/output error"):
        writer.finish()
    assert not (tmp_path / "a.wav").exists()
    assert (tmp_path / "a.wav.part").exists()


def test_metadata_are_replaced_in_place(tmp_path):
    path = write(tmp_path / "a.wav", 10)
    before = path.read_bytes()
    replace_metadata(path, Guano({"Note": "corrected"}))
    assert read_info(path).metadata == Guano({"Note": "corrected"})
    assert path.read_bytes()[4096:] == before[4096:]
    with pytest.raises(SoundFileError, match="do not fit"):
        replace_metadata(path, Guano({"Note": "x" * 5000}))


# Every interesting cut: the header byte by byte would take long, its parts do not.
@settings(max_examples=60, deadline=None)
@given(
    cut=st.integers(0, 4096 + 3 * 7 * 101),
    channels=st.integers(1, 7),
    planned=st.integers(1, 200),
)
def test_a_part_cut_anywhere_is_repaired_to_what_is_there(cut, channels, planned):
    form = SoundFormat(48000, channels, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        writer = WavWriter(path, form, planned, METADATA)
        writer.write(sound(planned, form))
        writer.close()
        whole = writer.part.read_bytes()
        writer.part.write_bytes(whole[:cut])
        there = max(0, min(cut, len(whole)) - 4096) // form.frame_size
        outcome = repair(writer.part)
        if there == 0:
            assert not outcome.repaired
            assert outcome.reason
            assert writer.part.read_bytes() == whole[:cut]
            assert not path.exists()
            return
        assert outcome.repaired
        assert outcome.path == path
        assert (outcome.frames, outcome.frames_missing) == (there, planned - there)
        assert not writer.part.exists()
        info = read_info(path)
        assert (info.frames, info.complete) == (there, True)
        assert info.metadata["Note"] == "hello"
        assert float(info.metadata["Length"]) == there / 48000
        with wave.open(str(path)) as file:
            assert file.readframes(planned + 1) == sound(there, form)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 5300), junk=st.binary(min_size=1, max_size=40))
def test_a_part_with_damaged_bytes_is_repaired_or_refused(place, junk):
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "a.wav.part"
        content = bytearray(write(Path(folder) / "a.wav", 500).read_bytes())
        (Path(folder) / "a.wav").unlink()
        content[place : place + len(junk)] = junk
        part.write_bytes(content)
        outcome = repair(part)
        if outcome.repaired:
            assert read_info(outcome.path).frames == outcome.frames > 0
        else:
            assert part.read_bytes() == content


@pytest.mark.parametrize("torn_after", range(8))
def test_a_finish_torn_at_any_step_is_repaired(tmp_path, monkeypatch, torn_after):
    # Metadata that outgrew their place take the most steps.
    writer = WavWriter(tmp_path / "a.wav", MONO, 1000, METADATA)
    writer.write(sound(300))
    steps = iter(range(100))

    def maybe_tear(*args):
        if next(steps) >= torn_after:
            raise OSError("power cut")

    monkeypatch.setattr(os, "fsync", maybe_tear)
    real = writer._write_all
    monkeypatch.setattr(
        writer, "_write_all", lambda content: (maybe_tear(), real(content))
    )
    try:
        path = writer.finish(Guano({"Note": "x" * 9000}))
    except OSError:
        monkeypatch.undo()
        path = writer.path
        # Torn after the rename: the file is there, only its name is not safe yet.
        if not path.exists():
            assert repair(writer.part).repaired
    info = read_info(path)
    assert info.frames == 300
    assert info.metadata["Note"] in {"hello", "x" * 9000}
    with wave.open(str(path)) as file:
        assert file.readframes(2000) == sound(300)


def test_a_torn_wav_of_another_recorder_is_repaired_in_place(tmp_path):
    path = tmp_path / "other.wav"
    soundfile.write(path, [[0.1, 0.2]] * 1000, 48000, "PCM_16")
    path.write_bytes(path.read_bytes()[:-401])
    assert not read_info(path).complete
    outcome = repair(path)
    assert (outcome.repaired, outcome.path, outcome.frames) == (True, path, 899)
    assert soundfile.info(path).frames == 899
    assert outcome.frames_missing == 101


def test_repair_leaves_a_whole_file_alone(tmp_path):
    path = write(tmp_path / "a.wav")
    before = path.read_bytes()
    assert repair(path).reason == "whole already"
    assert path.read_bytes() == before


def test_repair_never_replaces_another_recording(tmp_path):
    path = write(tmp_path / "a.wav")
    part = tmp_path / "a.wav.part"
    part.write_bytes(path.read_bytes()[:-10])
    outcome = repair(part)
    assert not outcome.repaired
    assert "exists already" in outcome.reason
    assert part.exists()


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_read_or_refused_with_a_reason(content, riff):
    if riff:
        content = b"RIFF\0\0\0\0WAVE" + content
    assert read_or_reason(content)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"fmt ", b"data", b"guan", b"ds64", b"JUNK"]),
            st.integers(0, 2**32 - 1) | st.just(2**32 - 1) | st.integers(0, 40),
            st.binary(max_size=40),
        ),
        max_size=6,
    ),
    st.sampled_from([b"RIFF", b"RF64"]),
)
def test_any_chunks_are_read_or_refused_with_a_reason(chunks, start):
    content = start + b"\xff\xff\xff\xffWAVE"
    for kind, length, body in chunks:
        content += kind + struct.pack("<I", length) + body
    found = read_or_reason(content)
    assert found
    if not isinstance(found, str):
        assert 0 <= found.frames * found.frame_size <= len(content)


def test_rf64_is_read(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, [0.0] * 100, 48000, "PCM_16", format="RF64")
    assert read_info(path).frames == 100


def test_float_sound_is_read(tmp_path):
    path = tmp_path / "float.wav"
    soundfile.write(path, [0.0] * 100, 48000, "FLOAT")
    info = read_info(path)
    assert (info.frames, info.sample_width) == (100, 4)


def test_the_sound_begins_on_a_page_of_its_own():
    header = build_header(MONO, 10, METADATA)
    assert len(header) == 4096
    assert len(build_header(MONO, 10, Guano({"Note": "x" * 5000}))) == 8192


@pytest.mark.parametrize(
    "values", [(0, 1, 2), (48000, 0, 2), (48000, 1, 1), (2**32, 1, 2), (1, 2**16, 2)]
)
def test_impossible_formats_are_refused(values):
    with pytest.raises(ValueError, match="must be"):
        SoundFormat(*values)
