"""Measure FLAC: seconds of sound per second of one core, and size against WAV.

The natural limit beside it: the entropy of the sound. Its lowest bits are noise, which
nothing compresses without loss; the share printed is that of the noise's own entropy
(for Gaussian noise of deviation s steps: log2(s * sqrt(2 pi e)) bits a sample).
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from activity_scenes import make_scene

from acoupi.audio.guano import Guano
from acoupi.audio.soundfiles import SoundFormat, WavWriter, encode_flac, read_info

SECONDS = 30


def write(path, samplerate, kind):
    scene = make_scene(kind, "pink", 15, samplerate, 0)
    steps = np.tile(np.round(scene.samples * 32768), SECONDS // 10).astype("<i2")
    writer = WavWriter(path, SoundFormat(samplerate), len(steps), Guano())
    writer.write(steps.tobytes())
    writer.finish()
    # The part of pink noise that cannot be predicted is what its spectrum's geometric
    # mean leaves (Kolmogorov's formula for the innovation of a Gaussian process).
    power = np.abs(np.fft.rfft(steps[: 10 * samplerate])) ** 2 / (10 * samplerate)
    innovation = math.sqrt(math.exp(np.mean(np.log(power[1:-1] + 1e-9)) + 0.5772))
    return max(math.log2(innovation * math.sqrt(2 * math.pi * math.e)), 0) / 16


def main():
    print("\nFLAC of calls in pink noise at -40 dBFS, one core, durable:\n")
    print("| samplerate | level | seconds per second | size of WAV | limit |")
    print("|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for samplerate, kind in ((48000, "call"), (384_000, "sweep")):
            wav = Path(folder) / "a.wav"
            limit = write(wav, samplerate, kind)
            for level in (0.0, 0.4, 0.8):
                begun = time.process_time()
                flac = encode_flac(wav, wav.with_suffix(".flac"), level)
                spent = time.process_time() - begun
                assert read_info(flac).frames == SECONDS * samplerate
                share = flac.stat().st_size / wav.stat().st_size
                print(
                    f"| {samplerate // 1000} kHz | {level} | {SECONDS / spent:.0f} "
                    f"| {100 * share:.0f} % | {100 * limit:.0f} % |"
                )


if __name__ == "__main__":
    main()
