from __future__ import annotations

import math
import random
from array import array

import pytest

from acoupi.audio.wav import SoundFormat
from acoupi.components.recorders.quality import LevelMeter


def tone(peak, offset=0.0, count=48_000):
    return [
        max(-1, min(1, peak * math.sin(index * 0.37) + offset))
        for index in range(count)
    ]


def encode(values, width):
    full = 1 << (8 * width - 1)
    numbers = [max(-full, min(full - 1, round(value * full))) for value in values]
    return memoryview(
        b"".join(number.to_bytes(width, "little", signed=True) for number in numbers)
    )


def measure(values, *, channels=1, width=2):
    meter = LevelMeter(SoundFormat(48_000, channels, width))
    content = encode(values, width)
    step = 4096 * channels * width
    for at in range(0, len(content), step):
        meter.add(content[at : at + step])
    return meter


@pytest.mark.parametrize("width", [2, 3, 4])
def test_levels_are_those_of_the_sound(width):
    meter = measure(tone(0.5), width=width)
    assert meter.peak_dbfs == pytest.approx(-6.02, abs=0.1)
    assert meter.level_dbfs == pytest.approx(-9.03, abs=0.3)
    assert meter.clipped == 0
    assert meter.problems() == []


def test_quiet_noise_is_not_a_problem():
    chance = random.Random(1)
    meter = measure([chance.gauss(0, 4e-4) for _ in range(20_000)])
    assert meter.problems() == []


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([0.0] * 9000, "silence"),
        ([0.3] * 9000, "stuck"),
        (tone(3.0, count=9000), "clipping"),
        (tone(0.2, 0.3, count=9000), "offset"),
    ],
)
def test_what_is_wrong_with_a_microphone_is_told(values, told):
    problems = measure(values).problems()
    assert len(problems) == 1
    assert problems[0].startswith(told)


def test_a_dead_channel_is_named():
    values = [value for sample in tone(0.3, count=9000) for value in (sample, 0.0)]
    problems = measure(values, channels=2).problems()
    assert len(problems) == 1
    assert problems[0].startswith("channel 2: silence")


def test_nothing_seen_is_nothing_judged():
    meter = LevelMeter(SoundFormat(48_000, 1, 2))
    assert meter.level_dbfs is None
    assert meter.peak_dbfs is None
    assert meter.clipped is None
    assert meter.problems() == []


def test_pure_silence_has_no_level():
    assert measure(array("h", [0] * 5000).tolist()).level_dbfs is None
