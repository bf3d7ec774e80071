from __future__ import annotations

import itertools
import time
from array import array

import pytest

from acoupi.audio.scene import CALLS, SignalSource, render_call


def samples_of(source: SignalSource, seconds: float) -> array[int]:
    total = array("h" if source.format.sample_width == 2 else "i")
    wanted = round(seconds * source.format.samplerate) * source.format.channels
    for block in source.blocks():
        total.extend(block)
        if len(total) >= wanted:
            break
    return total[:wanted]


def test_the_same_seed_gives_the_same_sound():
    first = samples_of(SignalSource(8000, seed=5), 5)
    assert first == samples_of(SignalSource(8000, seed=5), 5)
    assert first != samples_of(SignalSource(8000, seed=6), 5)


@pytest.mark.parametrize("rate", [8000, 48_000, 384_000])
def test_a_first_call_comes_within_three_seconds(rate):
    samples = samples_of(SignalSource(rate), 3)
    assert max(samples[: round(1.4 * rate)]) <= 128
    assert max(samples) > 1000


def test_calls_keep_coming_and_never_overflow():
    samples = samples_of(SignalSource(8000, calls_per_minute=60), 60)
    loud = [max(samples[at : at + 8000]) > 500 for at in range(0, len(samples), 8000)]
    assert sum(loud) > 15
    assert not all(loud)
    assert max(samples) < 8000


def test_channels_are_alike_and_wide_samples_keep_their_level():
    mono = samples_of(SignalSource(8000), 4)
    stereo = samples_of(SignalSource(8000, channels=2), 4)
    assert stereo[0::2] == mono == stereo[1::2]
    wide = samples_of(SignalSource(8000, sample_width=4), 4)
    assert [value >> 16 for value in wide] == mono.tolist()


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_call_sweeps_between_its_frequencies(call):
    rate = 384_000
    samples = render_call(call, rate, 1000)
    assert 900 < max(samples) <= 1000
    note = samples[: round(call.seconds * rate)]
    crossings = [at for at, (a, b) in enumerate(itertools.pairwise(note)) if a < 0 <= b]
    middle = crossings[len(crossings) // 4 : -len(crossings) // 4]
    periods = [b - a for a, b in itertools.pairwise(middle)]
    mean = rate * len(periods) / sum(periods)
    low, high = sorted((call.start_hz, call.stop_hz))
    assert low * 0.9 <= mean <= high * 1.1
    repeats = len(samples) / rate / (call.seconds + call.pause)
    assert repeats == pytest.approx(call.repeats, rel=0.01)


def test_it_is_made_faster_than_real_time():
    begun = time.process_time()
    samples_of(SignalSource(48_000), 20)
    assert time.process_time() - begun < 10


def test_without_pacing_it_goes_as_fast_as_the_sink():
    class Sink:
        free = 10**9
        frames = 0

        def deliver(self, block, frames, now, delay, overflow):
            self.frames += frames

    sink = Sink()
    stream = SignalSource(8000, realtime=False).open()
    stream.start(sink)
    deadline = time.monotonic() + 20
    while sink.frames < 80_000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stream.close()
    assert stream.ended
