"""The sound that is played to the sensors: bird-like chirps over faint noise."""

from __future__ import annotations

import array
import math
import random
import sys
import wave


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
    samples = array.array("h")
    for index in range(seconds * samplerate):
        time = index / samplerate
        within = time % 0.5
        value = noise.gauss(0, 40)
        if within < 0.12:
            # Up from 3 to 6 kHz, with soft edges.
            phase = 2 * math.pi * (3_000 * within + 0.5 * 25_000 * within**2)
            value += 9_000 * math.sin(math.pi * within / 0.12) * math.sin(phase)
        samples.append(max(-32_768, min(32_767, round(value))))
    if sys.byteorder == "big":
        samples.byteswap()
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(samplerate)
        file.writeframes(samples.tobytes())
