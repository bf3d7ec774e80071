from __future__ import annotations

import time
import wave
from array import array
from pathlib import Path

import pytest

from acoupi.audio.sources import FileSource, SourceError
from acoupi.audio.wav import SoundFormat
from acoupi.errors import ConfigurationError


class Sink:
    """Collects what a stream delivers."""

    def __init__(self, free: int = 10**9) -> None:
        self.free = free
        self.content = b""
        self.arrivals: list[float] = []

    def deliver(self, block, frames, now, delay, overflow) -> None:
        self.content += bytes(memoryview(block).cast("B"))
        self.arrivals.append(now)


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def write(path: Path, numbers, rate=8000, channels=1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(array("h", numbers).tobytes())
    return path


def play(source: FileSource, sink: Sink | None = None):
    """Play one stream of a source to its end."""
    sink = sink or Sink()
    stream = source.open()
    stream.start(sink)
    until(lambda: stream.ended)
    stream.close()
    assert stream.failure is None
    return stream, array("h", sink.content).tolist()


def test_a_file_is_delivered_sample_for_sample(tmp_path):
    path = write(tmp_path / "a.wav", range(5000))
    source = FileSource(path, loop=False, realtime=False)
    stream, samples = play(source)
    assert samples == list(range(5000))
    assert stream.format == SoundFormat(8000, 1, 2)
    assert stream.identity == "file:a.wav"
    assert source.exhausted


def test_a_folder_is_played_in_order_of_names_without_a_break(tmp_path):
    write(tmp_path / "b.wav", range(1000, 2000))
    write(tmp_path / "a.wav", range(1000))
    write(tmp_path / "deeper" / "c.wav", range(2000, 2500))
    (tmp_path / "notes.txt").write_text("not a sound")
    source = FileSource(tmp_path, loop=False, realtime=False)
    assert play(source)[1] == list(range(2500))
    assert source.exhausted


def test_another_format_begins_another_stream(tmp_path):
    write(tmp_path / "a.wav", range(100))
    write(tmp_path / "b.wav", range(200), rate=16_000)
    source = FileSource(tmp_path, loop=False, realtime=False)
    first, samples = play(source)
    assert samples == list(range(100))
    assert not source.exhausted
    second, samples = play(source)
    assert samples == list(range(200))
    assert [s.format.samplerate for s in (first, second)] == [8000, 16_000]
    assert source.exhausted


def test_it_begins_again_after_the_end(tmp_path):
    path = write(tmp_path / "a.wav", range(100))
    source = FileSource(path, realtime=False)
    sink = Sink()
    stream = source.open()
    stream.start(sink)
    until(lambda: len(sink.content) >= 2 * 350)
    stream.close()
    samples = array("h", sink.content).tolist()
    assert samples[:350] == [n % 100 for n in range(350)]
    assert not source.exhausted


def test_files_that_cannot_be_read_are_passed_over(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"broken")
    write(tmp_path / "b.wav", range(50))
    (tmp_path / "c.wav").write_bytes(b"broken too")
    write(tmp_path / "d.wav", range(50, 80))
    source = FileSource(tmp_path, loop=False, realtime=False)
    source.check()
    assert play(source)[1] == list(range(80))
    assert len(source.failures) == 2
    assert "not a readable sound file" in source.failures[str(tmp_path / "a.wav")]


def test_a_folder_of_broken_files_does_not_spin(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(b"broken")
    source = FileSource(tmp_path, realtime=False)
    with pytest.raises(SourceError, match="is not a readable sound file"):
        source.open()
    with pytest.raises(SourceError, match="is not a readable sound file"):
        source.check()


def test_a_file_that_breaks_while_looping_ends_the_stream(tmp_path):
    path = write(tmp_path / "a.wav", range(100))
    source = FileSource(path, realtime=False)
    sink = Sink()
    stream = source.open()
    stream.start(sink)
    until(lambda: sink.content)
    path.write_bytes(b"broken")
    until(lambda: stream.ended)
    stream.close()
    with pytest.raises(SourceError):
        source.open()


def test_the_first_channels_are_taken(tmp_path):
    interleaved = [value for n in range(100) for value in (n, 1000 + n, 2000 + n)]
    path = write(tmp_path / "a.wav", interleaved, channels=3)
    mono = FileSource(path, channels=1, loop=False, realtime=False)
    assert play(mono)[1] == list(range(100))
    stereo = FileSource(path, channels=2, loop=False, realtime=False)
    stream, samples = play(stereo)
    assert samples == [value for n in range(100) for value in (n, 1000 + n)]
    assert stream.format.channels == 2


def test_it_keeps_the_pace_of_real_time(tmp_path):
    path = write(tmp_path / "a.wav", range(8000))
    sink = Sink()
    begun = time.monotonic()
    play(FileSource(path, loop=False), sink)
    assert 0.95 < sink.arrivals[-1] - begun < 2
    assert len(sink.content) == 16_000


def test_a_full_sink_makes_it_wait(tmp_path):
    path = write(tmp_path / "a.wav", range(2000))
    sink = Sink(free=0)
    stream = FileSource(path, loop=False, realtime=False).open()
    stream.start(sink)
    time.sleep(0.1)
    assert sink.content == b""
    sink.free = 10**6
    until(lambda: stream.ended)
    assert array("h", sink.content).tolist() == list(range(2000))


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"source_path.*there is no file"):
        FileSource(tmp_path / "nowhere").check()
    with pytest.raises(ConfigurationError, match="holds no sound file"):
        FileSource(tmp_path).check()


def test_a_bad_file_at_the_end_does_not_play_a_folder_again(tmp_path):
    write(tmp_path / "a.wav", range(100))
    (tmp_path / "b.wav").write_text("not a sound")
    source = FileSource(tmp_path, loop=False, realtime=False)
    assert play(source)[1] == list(range(100))
    assert source.exhausted
    assert list(source.failures) == [str(tmp_path / "b.wav")]


def test_a_bad_file_does_not_break_a_loop(tmp_path, caplog):
    write(tmp_path / "a.wav", range(400))
    (tmp_path / "b.wav").write_text("not a sound")
    source = FileSource(tmp_path, loop=True, realtime=False)
    sink = Sink()
    stream = source.open()
    stream.start(sink)
    until(lambda: len(sink.content) >= 2 * 5 * 400)
    stream.close()
    assert array("h", sink.content[: 2 * 5 * 400]).tolist() == list(range(400)) * 5
    assert caplog.text.count("passed over") == 1, "said once, not at every turn"


def test_a_file_that_breaks_off_is_passed_over_where_it_does(tmp_path):
    import numpy as np
    import soundfile

    noise = np.random.default_rng(1).integers(-9000, 9000, 80_000, dtype=np.int16)
    soundfile.write(tmp_path / "a.flac", noise, 8000)
    content = bytearray((tmp_path / "a.flac").read_bytes())
    middle = len(content) // 2
    content[middle:] = bytes(len(content) - middle)
    (tmp_path / "a.flac").write_bytes(content)
    write(tmp_path / "b.wav", range(100))
    source = FileSource(tmp_path, loop=False, realtime=False)
    samples = play(source)[1]
    assert samples[-100:] == list(range(100))
    assert samples[:20_000] == noise[:20_000].tolist()
    assert source.exhausted


def test_a_folder_of_bad_files_says_what_is_wrong_with_the_first_ones(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.wav").write_text("not a sound")
    source = FileSource(tmp_path)
    with pytest.raises(SourceError, match=r"0\.wav is not .*; and 2 more$") as caught:
        source.open()
    assert str(caught.value).count("0.wav") == 1
