"""A generated soundscape: what stands for a microphone where there is none.

Calls of a few kinds, shaped like those of birds and bats, at random times in steady
noise. Made block by block without end, without numpy, the same for the same seed.
"""

from __future__ import annotations

import math
import random
from array import array
from dataclasses import dataclass
from operator import add
from typing import TYPE_CHECKING

from acoupi.audio.sources import BLOCK_SECONDS, PacedStream, Source, SourceStream
from acoupi.audio.wav import SoundFormat

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CALLS", "Call", "SignalSource", "render_call"]


@dataclass(frozen=True)
class Call:
    """A sound with a sweeping frequency, possibly repeated."""

    name: str
    start_hz: float
    stop_hz: float
    seconds: float
    repeats: int = 1
    pause: float = 0.05
    """Seconds between repeats."""
    warble_hz: float = 0.0
    """Rate of a frequency modulation, in Hz."""
    warble_depth: float = 0.0
    """Depth of that modulation, in Hz."""


CALLS = (
    Call("rising whistle", 2200, 4200, 0.25),
    Call("falling whistle", 5200, 2800, 0.3),
    Call("trill", 3800, 4200, 0.04, repeats=9, pause=0.03),
    Call("warble", 3000, 3000, 0.45, warble_hz=24, warble_depth=600),
    Call("chirps", 6500, 4500, 0.05, repeats=4, pause=0.09),
    Call("hoot", 480, 420, 0.35, repeats=2, pause=0.2),
    Call("bat sweeps", 72000, 42000, 0.005, repeats=8, pause=0.075),
    Call("bat calls", 47000, 45000, 0.008, repeats=7, pause=0.09),
)
"""Calls of the scene; those above the Nyquist frequency are left out."""


def render_call(call: Call, samplerate: int, peak: int) -> array[int]:
    """Return the samples of one call, as 16-bit integers.

    Parameters
    ----------
    call
        What to render.
    samplerate
        Frames per second.
    peak
        Largest absolute sample, [1, 32767].
    """
    count = max(2, round(call.seconds * samplerate))
    phase = 0.0
    note = array("h")
    for index in range(count):
        place = index / count
        frequency = call.start_hz + (call.stop_hz - call.start_hz) * place
        if call.warble_hz:
            turn = 2 * math.pi * call.warble_hz * index / samplerate
            frequency += call.warble_depth * math.sin(turn)
        phase += 2 * math.pi * frequency / samplerate
        envelope = math.sin(math.pi * place) ** 2
        note.append(round(peak * envelope * math.sin(phase)))
    silence = array("h", bytes(2 * round(call.pause * samplerate)))
    samples = array("h")
    for _ in range(call.repeats):
        samples.extend(note)
        samples.extend(silence)
    return samples


class SignalSource(Source):
    """A generated soundscape that paces like a microphone.

    Parameters
    ----------
    samplerate
        Frames per second.
    channels
        Channels, all alike.
    sample_width
        Bytes of a sample: 2 or 4.
    seed
        Equal seeds give equal sound.
    calls_per_minute
        Mean number of calls, above 0.
    realtime
        Whether to pace by the clock; otherwise as fast as the sink takes it.
    """

    def __init__(
        self,
        samplerate: int,
        *,
        channels: int = 1,
        sample_width: int = 2,
        seed: int = 1,
        calls_per_minute: float = 12.0,
        realtime: bool = True,
    ) -> None:
        self.format = SoundFormat(samplerate, channels, sample_width)
        self.seed = seed
        self.calls_per_minute = calls_per_minute
        self.realtime = realtime

    @property
    def exhausted(self) -> bool:
        """Never: the scene has no end."""
        return False

    def open(self) -> SourceStream:
        """Begin the scene."""
        return PacedStream(self.blocks(), self.format, "signal", realtime=self.realtime)

    def blocks(self) -> Iterator[array[int]]:
        """Yield blocks of interleaved frames without end."""
        chance = random.Random(self.seed)  # noqa: S311  (noise, not a secret)
        rate = self.format.samplerate
        size = max(1, round(rate * BLOCK_SECONDS))
        calls = [call for call in CALLS if max(call.start_hz, call.stop_hz) < rate / 2]
        rendered: dict[int, array[int]] = {}
        playing = array("h")
        pause = round(1.5 * rate)  # the first call comes soon: people wait for it
        while True:
            noise = array("h", memoryview(chance.randbytes(size)).cast("b"))
            if not playing and pause < size:
                kind = chance.randrange(len(calls))
                if kind not in rendered:
                    peak = 1500 * (1 + kind % 4)
                    rendered[kind] = render_call(calls[kind], rate, peak)
                playing = array("h", bytes(2 * max(0, pause))) + rendered[kind]
                pause = round(chance.expovariate(self.calls_per_minute / 60) * rate)
            if playing:
                part = playing[:size]
                noise[: len(part)] = array("h", map(add, noise, part))
                del playing[:size]
            else:
                pause -= size
            yield self._shape(noise)

    def _shape(self, samples: array[int]) -> array[int]:
        if self.format.sample_width == 4:
            samples = array("i", (sample << 16 for sample in samples))
        if self.format.channels == 1:
            return samples
        count = self.format.channels
        interleaved = array(samples.typecode, samples * count)
        for channel in range(count):
            interleaved[channel::count] = samples
        return interleaved
