"""The sound that is played to the sensors: bird-like chirps over faint noise."""

from __future__ import annotations

import array
import math
import random
import sys
import wave
from collections.abc import Iterable
from pathlib import Path


def write_chirps(path: str, seconds: int = 4, samplerate: int = 48_000) -> None:
    """Write a sound file with a chirp in each half second; the same at each call.

    Parameters
    ----------
    path : str
        Where to.
    seconds : int
        Its length.
    samplerate : int
        In Hz.
    """
    noise = random.Random(1)  # not a secret, but always the same
    samples: list[float] = []
    for index in range(seconds * samplerate):
        time = index / samplerate
        within = time % 0.5
        value = noise.gauss(0, 40)
        if within < 0.12:
            # Up from 3 to 6 kHz, with soft edges.
            phase = 2 * math.pi * (3_000 * within + 0.5 * 25_000 * within**2)
            value += 9_000 * math.sin(math.pi * within / 0.12) * math.sin(phase)
        samples.append(value)
    _write(path, samples, samplerate)


def _write(path: str, values: Iterable[float], samplerate: int) -> None:
    samples = array.array("h", (max(-32_768, min(32_767, round(it))) for it in values))
    if sys.byteorder == "big":
        samples.byteswap()
    _write_frames(path, samples.tobytes(), samplerate)


def _write_frames(path: str, content: bytes, samplerate: int) -> None:
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(samplerate)
        file.writeframes(content)


def write_defect(path: str, kind: str, seconds: int = 4) -> None:
    """Write what a defective microphone delivers, at 48 kHz.

    Parameters
    ----------
    path : str
        Where to.
    kind : str
        ``silence`` (zeros), ``stuck`` (one value), ``offset`` (faint noise around a
        tenth of full scale) or ``clipping`` (a loud tone cut at full scale).
    seconds : int
        Its length.
    """
    noise = random.Random(1)
    make = {
        "silence": lambda _: 0.0,
        # Little, so that a while of it is not taken for an offset.
        "stuck": lambda _: 1_000.0,
        "offset": lambda _: 3_300 + noise.gauss(0, 40),
        "clipping": lambda time: 90_000 * math.sin(2 * math.pi * 1_000 * time),
    }[kind]
    second = [make(index / 48_000) for index in range(48_000)]
    _write(path, second * seconds, 48_000)


def write_counter(path: str, seconds: int, samplerate: int) -> None:
    """Write samples that count: each is one more than the last, modulo 65,536.

    Parameters
    ----------
    path : str
        Where to; a name that does not end in ``.wav`` means the samples alone.
    seconds : int
        Their length.
    samplerate : int
        In Hz.
    """
    content = counting(seconds * samplerate)
    if path.endswith(".wav"):
        _write_frames(path, content, samplerate)
    else:
        Path(path).write_bytes(content)


def counting(samples: int) -> bytes:
    """Return samples that count, as they are in a sound file."""
    cycle = array.array("h", [*range(32_768), *range(-32_768, 0)])
    if sys.byteorder == "big":
        cycle.byteswap()
    return (cycle.tobytes() * (samples // len(cycle) + 1))[: 2 * samples]
