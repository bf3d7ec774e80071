"""A sound file may hold anything: it is read, repaired or refused, and no more.

Files come from a card that was torn, from another recorder or from a prankster. Every
one is a valid file with some of its bytes changed, or is no sound file at all. Allowed
are an answer and an error that names the file; not a traceback of another kind, not a
hang, not the memory that a header promises, and no file elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import tempfile
import time
import tracemalloc
import wave
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from acoupi import data
from acoupi.audio.guano import Guano
from acoupi.audio.soundfiles import (
    SoundFileError,
    encode_flac,
    read_blocks,
    read_info,
    read_recording,
    read_samples,
    repair,
    replace_metadata,
)
from acoupi.components import SqliteStore
from acoupi.components.saving import SetAsideFolder
from acoupi.tasks.strays import StrayFiles
from acoupi.testing import make_recording

# Other tests may keep the machine busy.
pytestmark = pytest.mark.timeout(600)

SLOWEST = 20.0
"""Seconds for one file on a busy machine; a hang is longer."""

MOST_MEMORY = 64e6
"""Bytes for a file of a few kilobytes."""

REFUSALS = (SoundFileError, OSError)


def make_wav() -> bytes:
    """Return a small WAV file with metadata before its sound, as ours have."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(range(256)) * 8)
    plain = buffer.getvalue()
    text = Guano.for_recording(make_recording()).encode()
    chunk = b"guan" + len(text).to_bytes(4, "little") + text + b"\0" * (len(text) % 2)
    return (
        b"RIFF"
        + (len(plain) - 8 + len(chunk)).to_bytes(4, "little")
        + plain[8:36]
        + chunk
        + plain[36:]
    )


@functools.cache
def make_flac() -> bytes:
    """Return the same as FLAC."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source.wav"
        source.write_bytes(make_wav())
        return encode_flac(source, source.with_suffix(".flac")).read_bytes()


WAV = make_wav()

NUMBERS = st.sampled_from(
    [0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1]
)

EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 4000), st.binary(max_size=8)),
        st.tuples(
            st.just("set"),
            # Most numbers that matter are at the beginning.
            st.integers(0, 80),
            NUMBERS.map(lambda number: number.to_bytes(4, "little")),
        ),
        st.tuples(
            st.just("set"),
            st.integers(0, 80),
            NUMBERS.map(lambda number: number.to_bytes(4, "big")),
        ),
        st.tuples(st.just("cut"), st.integers(0, 4000), st.just(b"")),
        st.tuples(st.just("insert"), st.integers(0, 4000), st.binary(max_size=40)),
        st.tuples(st.just("remove"), st.integers(0, 4000), st.binary(max_size=40)),
        st.tuples(st.just("double"), st.integers(0, 4000), st.binary(max_size=40)),
    ),
    min_size=1,
    max_size=4,
)


def edit(content: bytes, edits) -> bytes:
    for what, place, text in edits:
        at = place % (len(content) + 1)
        if what == "set":
            content = content[:at] + text + content[at + len(text) :]
        elif what == "cut":
            content = content[:at]
        elif what == "insert":
            content = content[:at] + text + content[at:]
        elif what == "remove":
            content = content[:at] + content[at + len(text) :]
        else:
            content = content[:at] + content[at : at + len(text)] + content[at:]
    return content


@contextlib.contextmanager
def bounded():
    """Fail when what happens inside hangs or takes much memory."""
    began = time.monotonic()
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < SLOWEST
    assert peak < MOST_MEMORY


def use(path: Path) -> None:
    """Do with a file all that the sensor ever does; let refusals pass."""
    deployment = data.Deployment(name="x")
    for action in (
        lambda: read_info(path),
        lambda: read_recording(path, deployment),
        lambda: read_samples(path),
        lambda: sum(1 for _ in read_blocks(path, 512)),
        lambda: replace_metadata(path, Guano({"Note": "x" * 40})),
        lambda: encode_flac(path, path.with_name("out.flac")),
    ):
        with contextlib.suppress(*REFUSALS):
            action()


def check_file(directory: Path, name: str, content: bytes) -> None:
    for file in directory.iterdir():
        file.unlink()
    path = directory / name
    path.write_bytes(content)
    with bounded():
        use(path)
    assert {file.name for file in directory.iterdir()} <= {name, "out.flac"}


def check_repair(directory: Path, suffix: str, content: bytes) -> None:
    for file in directory.iterdir():
        file.unlink()
    path = directory / f"a.wav{suffix}"
    path.write_bytes(content)
    with bounded():
        outcome = repair(path)
    if not outcome.repaired:
        assert path.read_bytes() == content
        assert [file.name for file in directory.iterdir()] == [path.name]
        return
    assert [file.name for file in directory.iterdir()] == ["a.wav"]
    info = read_info(directory / "a.wav")
    assert info.frames == outcome.frames > 0
    # What was repaired once is whole.
    again = repair(directory / "a.wav")
    assert (again.repaired, again.frames) == (True, outcome.frames)


quick = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(edits=EDITS)
@example(edits=[("set", 4, b"\xff" * 4), ("set", len(WAV) - 2052, b"\xff" * 4)])
@example(edits=[("set", 22, b"\xff\xff")])
@example(edits=[("set", 24, b"\xff" * 4)])
def test_a_damaged_wav_file_is_read_or_refused(tmp_path, edits):
    check_file(tmp_path, "a.wav", edit(WAV, edits))


@quick
@given(edits=EDITS)
# A file of 2 kB that claims to hold 2**36 - 1 frames.
@example(edits=[("set", 21, b"\x4f\xff\xff\xff\xff")])
@example(edits=[("set", 19, b"\x00\x00\x7f\xff")])
def test_a_damaged_flac_file_is_read_or_refused(tmp_path, edits):
    check_file(tmp_path, "a.flac", edit(make_flac(), edits))


@quick
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=300).map(lambda rest: b"RIFF\0\0\0\0WAVE" + rest),
        st.binary(max_size=300).map(lambda rest: b"RF64\xff\xff\xff\xffWAVE" + rest),
        st.binary(max_size=300).map(lambda rest: b"fLaC" + rest),
        st.binary(max_size=300).map(lambda rest: b"OggS" + rest),
        st.binary(max_size=300).map(lambda rest: b"FORM\0\0\0\0AIFF" + rest),
    ),
    name=st.sampled_from(["a.wav", "a.flac", "a.ogg", "a.aiff", "a.mp3", "a"]),
)
def test_a_file_of_anything_is_read_or_refused(tmp_path, content, name):
    check_file(tmp_path, name, content)


@quick
@given(edits=EDITS, suffix=st.sampled_from(["", ".part"]))
def test_repair_makes_a_file_whole_or_leaves_it_as_it_is(tmp_path, edits, suffix):
    check_repair(tmp_path, suffix, edit(WAV, edits))


@quick
@given(content=st.binary(max_size=300))
@example(content=b"GUANO|Version: 1.0\nTimestamp: 9999-12-31T23:59:59+14:00\n")
@example(content=b"Loc Position: 1e999 nan\nTE: 0\nLength: -1\nSamplerate: 1e400\n")
@example(content=b"Acoupi|Id: \x00\nAcoupi|Gaps: 1,2,3;;\nTimestamp: 0000-00-00\n")
def test_metadata_of_anything_describe_a_recording(content):
    metadata = Guano.parse(content)

    recording = metadata.to_recording(
        path=Path("a.wav"), frames=8000, samplerate=8000, channels=1
    )

    assert recording.duration > 0
    # What it says can be said again.
    assert Guano.parse(Guano.for_recording(recording).encode())


KEYS = st.sampled_from(
    [
        *Guano.for_recording(make_recording()),
        *("TE", "Loc Position", "Timestamp", "Length", "Samplerate", "Note"),
    ]
)


@quick
@given(fields=st.dictionaries(KEYS, st.text(max_size=40), max_size=8))
def test_our_own_metadata_with_strange_values_describe_a_recording(fields):
    metadata = Guano.parse("".join(f"{key}: {fields[key]}\n" for key in fields))

    recording = metadata.to_recording(
        path=Path("a.wav"), frames=8000, samplerate=8000, channels=1
    )

    assert recording.duration > 0


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    edits=EDITS,
    name=st.sampled_from(["a.wav", "b.wav.part", "c.flac", "d.flac.part", "e.WAV"]),
)
def test_a_file_found_in_the_temporary_directory_is_taken_up_or_set_aside(
    tmp_path, caplog, edits, name
):
    caplog.set_level(logging.CRITICAL)
    audio, aside = tmp_path / "audio", tmp_path / "aside"
    audio.mkdir(exist_ok=True)
    for file in [*audio.rglob("*"), *aside.rglob("*")]:
        if file.is_file():
            file.unlink()
    path = audio / name
    path.write_bytes(edit(make_flac() if ".flac" in name else WAV, edits))
    os.utime(path, (1e9, 1e9))
    store = SqliteStore(tmp_path / "store.db")
    strays = StrayFiles(
        audio, store, SetAsideFolder(aside), logging.getLogger("x"), quiet=0
    )

    with bounded():
        strays.take_up()
        strays.take_up()

    # The database has a lock and a journal beside it.
    others = {file.name for file in tmp_path.iterdir() if "store.db" not in file.name}
    assert others <= {"audio", "aside"}
