"""How loud recordings are, and whether the microphone seems to work."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoupi.audio.wav import SoundFormat

__all__ = ["LevelMeter", "describe_problems"]

RUN = 256
"""Frames of each block that are looked at; the whole would cost a core at 384 kHz."""
DIGITAL_SILENCE = 1
"""Peak, in 16-bit steps, up to which a channel holds no sound at all."""
CLIPPED_SHARE = 0.001
"""Share of samples at full scale above which a level is too high."""
OFFSET = 0.05
"""Mean value, relative to full scale, above which something is wrong."""


@dataclass
class _Channel:
    count: int = 0
    total: int = 0
    squares: int = 0
    lowest: int = 32767
    highest: int = -32768
    clipped: int = 0


@dataclass
class LevelMeter:
    """Measures levels on the first frames of every block that it is shown.

    A sample of the sound, not the whole: a peak between two looks is missed.

    Parameters
    ----------
    sound
        Format of the blocks.
    """

    sound: SoundFormat
    _channels: list[_Channel] = field(init=False)

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self._channels = [_Channel() for _ in range(self.sound.channels)]

    def add(self, block: memoryview) -> None:
        """Look at a block of whole frames."""
        samples = _as_16_bit(block[: RUN * self.sound.frame_size], self.sound)
        step = self.sound.channels
        for number, channel in enumerate(self._channels):
            values = samples[number::step]
            if not values:
                continue
            channel.count += len(values)
            channel.total += sum(values)
            channel.squares += sum(value * value for value in values)
            channel.lowest = min(channel.lowest, *values)
            channel.highest = max(channel.highest, *values)
            if channel.highest >= 32767 or channel.lowest <= -32768:
                channel.clipped += sum(
                    value >= 32767 or value <= -32768 for value in values
                )

    @property
    def peak_dbfs(self) -> float | None:
        """Largest sample seen, in dB relative to full scale; None for silence."""
        if not any(channel.count for channel in self._channels):
            return None
        peak = max(max(-c.lowest, c.highest) for c in self._channels if c.count)
        return _decibels(peak / 32768)

    @property
    def level_dbfs(self) -> float | None:
        """Root mean square of what was seen, in dB relative to full scale."""
        count = sum(channel.count for channel in self._channels)
        if not count:
            return None
        squares = sum(channel.squares for channel in self._channels)
        return _decibels(math.sqrt(squares / count) / 32768)

    @property
    def clipped(self) -> float | None:
        """Share of the samples seen that are at full scale."""
        count = sum(channel.count for channel in self._channels)
        if not count:
            return None
        return sum(channel.clipped for channel in self._channels) / count

    def problems(self) -> list[str]:
        """Say what seems wrong with each channel, for people; nothing when well."""
        found = []
        for number, channel in enumerate(self._channels, start=1):
            if channel.count < RUN:
                continue
            name = f"channel {number}: " if len(self._channels) > 1 else ""
            found += [name + problem for problem in describe_problems(channel)]
        return found


def describe_problems(channel: _Channel) -> list[str]:
    """Say what seems wrong with one channel, for people."""
    mean = channel.total / channel.count
    span = channel.highest - channel.lowest
    if max(-channel.lowest, channel.highest) <= DIGITAL_SILENCE:
        return ["silence: no sound at all arrives; is the microphone muted or dead?"]
    if span <= 2 * DIGITAL_SILENCE and abs(mean) > 1:
        return ["stuck: every sample has the same value; the microphone is defective"]
    problems = []
    if channel.clipped / channel.count > CLIPPED_SHARE:
        problems.append(
            f"clipping: {channel.clipped / channel.count:.1%} of the samples are at "
            "full scale; lower the gain"
        )
    if abs(mean) / 32768 > OFFSET:
        problems.append(
            f"offset: the mean is {mean / 32768:+.0%} of full scale instead of 0; the "
            "microphone or its supply is defective"
        )
    return problems


def _decibels(ratio: float) -> float | None:
    return round(20 * math.log10(ratio), 2) if ratio > 0 else None


def _as_16_bit(block: memoryview, sound: SoundFormat) -> Sequence[int]:
    content = bytes(block)
    count = len(content) // sound.sample_width
    if sound.sample_width == 2:
        return struct.unpack(f"<{count}h", content)
    high = bytearray(2 * count)
    high[0::2] = content[sound.sample_width - 2 :: sound.sample_width]
    high[1::2] = content[sound.sample_width - 1 :: sound.sample_width]
    return struct.unpack(f"<{count}h", high)
