"""Scenes with known events, for measuring how well a detector of sound events works.

A scene is some seconds of noise with events at known places. The signal-to-noise ratio
of an event is the mean power of the event over its duration, divided by the mean power
of the scene's noise inside the event's band (at least a tenth of its centre frequency
wide), in dB. Everything is derived from a seed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SECONDS = 10.0
EVENTS = 6
AUDIBLE = ("chirp", "call", "trill", "tone", "click")
ULTRASONIC = ("sweep", "constant", "social", "click")
NOISES = ("pink", "wind", "rain")
SENTENCES = (
    "The quick brown fox jumps over the lazy dog",
    "Good morning",
    "Seven nightingales sang all night",
    "Come here",
    "What a wonderful day in the woods",
)


@dataclass(frozen=True)
class Truth:
    """Where an event is: seconds and Hz."""

    start: float
    end: float
    low: float
    high: float


@dataclass(frozen=True)
class Scene:
    """Sound and what is in it."""

    samples: np.ndarray
    samplerate: int
    truths: tuple[Truth, ...]


def coloured_noise(rng, frames, samplerate, exponent, corner=50.0):
    """Gaussian noise of unit power whose spectrum falls as 1 / f**exponent."""
    spectrum = np.fft.rfft(rng.normal(size=frames))
    frequencies = np.fft.rfftfreq(frames, 1 / samplerate)
    spectrum *= np.maximum(frequencies, corner) ** (-exponent / 2)
    noise = np.fft.irfft(spectrum, frames)
    return noise / np.sqrt(np.mean(noise**2))


def slow_curve(rng, frames, samplerate, seconds):
    """A random curve that changes over ``seconds``, of unit deviation."""
    count = int(frames / samplerate / seconds) + 4
    points = rng.normal(size=count)
    return np.interp(np.arange(frames) / samplerate / seconds, np.arange(count), points)


def noise(kind, rng, frames, samplerate):
    """Background noise at about -40 dBFS."""
    pink = coloured_noise(rng, frames, samplerate, 1.0)
    if kind == "pink":
        return 0.01 * pink
    if kind == "wind":
        # Turbulence at the microphone: steep spectrum, gusts of seconds with flutter.
        rumble = coloured_noise(rng, frames, samplerate, 3.0, corner=80.0)
        gusts = 8 * slow_curve(rng, frames, samplerate, 1.0)
        flutter = 3 * slow_curve(rng, frames, samplerate, 0.15)
        rustle = coloured_noise(rng, frames, samplerate, 0.5, corner=2000.0)
        return (
            0.006 * pink
            + 0.03 * rumble * 10 ** ((gusts + flutter) / 20)
            + 0.004 * rustle * 10 ** (0.7 * gusts / 20)
        )
    # Rain: hiss of many far drops and a Poisson process of near ones, each a short
    # burst of noise with its own colour, level and decay.
    hiss = coloured_noise(rng, frames, samplerate, 0.3, corner=500.0)
    rain = 0.007 * hiss + 0.004 * pink
    for _ in range(rng.poisson(60 * frames / samplerate)):
        length = int(samplerate * 10 ** rng.uniform(-3.0, -2.0))
        place = rng.integers(0, frames - 5 * length)
        shape = np.exp(-np.arange(5 * length) / length)
        burst = coloured_noise(
            rng, 5 * length, samplerate, rng.uniform(0, 1.5), corner=300.0
        )
        rain[place : place + 5 * length] += (
            0.01 * 10 ** (rng.normal(0, 8) / 20) * shape * burst
        )
    return rain


def tapered(signal, samplerate, seconds):
    length = max(1, min(int(seconds * samplerate), len(signal) // 2))
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / length)
    signal[:length] *= ramp
    signal[-length:] *= ramp[::-1]
    return signal


def glide(samplerate, frequencies, seconds, taper=0.01):
    """A tone whose frequency moves through the given ones; unit amplitude."""
    frames = int(seconds * samplerate)
    curve = np.interp(
        np.linspace(0, 1, frames), np.linspace(0, 1, len(frequencies)), frequencies
    )
    phase = 2 * np.pi * np.cumsum(curve) / samplerate
    return tapered(np.sin(phase), samplerate, taper)


def event(kind, rng, samplerate):  # noqa: PLR0911 - one return for each kind
    """Return a sound and its lowest and highest frequency."""
    nyquist = samplerate / 2
    if kind == "chirp":
        low, high = rng.uniform(1500, 4000), rng.uniform(4500, 9000)
        ends = [low, high] if rng.random() < 0.5 else [high, low]
        return glide(samplerate, ends, rng.uniform(0.05, 0.3)), low, high
    if kind == "call":
        # Three harmonics that rise and fall together.
        base, top = rng.uniform(600, 1200), rng.uniform(1300, 2000)
        seconds = rng.uniform(0.15, 0.5)
        parts = [
            glide(samplerate, [base * n, top * n, base * n], seconds) / n
            for n in (1, 2, 3)
        ]
        return sum(parts), base, 3 * top
    if kind == "trill":
        low, high = rng.uniform(3000, 5000), rng.uniform(5500, 7500)
        note = glide(samplerate, [high, low], 0.03, 0.005)
        pause = np.zeros(int(0.02 * samplerate))
        return np.concatenate([note, pause] * 10)[: -len(pause)], low, high
    if kind == "tone":
        pitch = rng.uniform(800, 0.4 * min(samplerate, 48000))
        return glide(samplerate, [pitch, pitch], rng.uniform(0.1, 0.8)), pitch, pitch
    if kind == "click":
        frames = int(0.004 * samplerate)
        decay = np.exp(-np.arange(frames) / (0.0005 * samplerate))
        return decay * rng.normal(size=frames), 200.0, nyquist
    if kind == "sweep":
        high, low = rng.uniform(60e3, 100e3), rng.uniform(25e3, 45e3)
        seconds = rng.uniform(0.003, 0.008)
        bend = high * 0.4 + low * 0.6
        return glide(samplerate, [high, bend, low], seconds, 0.0005), low, high
    if kind == "constant":
        pitch = rng.uniform(75e3, 110e3)
        tail = pitch - rng.uniform(5e3, 12e3)
        curve = [tail, *[pitch] * 20, tail]
        return glide(samplerate, curve, rng.uniform(0.02, 0.05), 0.001), tail, pitch
    if kind == "social":
        low, high = rng.uniform(14e3, 20e3), rng.uniform(22e3, 35e3)
        curve = [low, high, low, high, low]
        return glide(samplerate, curve, rng.uniform(0.02, 0.05), 0.002), low, high
    raise ValueError(kind)


def band_power(samples, samplerate, low, high):
    """Mean square of the part of a sound inside a band."""
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / samplerate)
    inside = (frequencies >= low) & (frequencies <= high)
    return 2 * spectrum[inside].sum() / len(samples) ** 2


def place(samples, samplerate, sound, start, low, high, snr, background):
    """Add a sound at the wanted ratio and return where it is."""
    centre, width = (low + high) / 2, high - low
    width = max(width, centre / 10)
    ambient = band_power(background, samplerate, centre - width / 2, centre + width / 2)
    gain = np.sqrt(ambient * 10 ** (snr / 10) / np.mean(sound**2))
    first = int(start * samplerate)
    samples[first : first + len(sound)] += gain * sound
    return Truth(start, start + len(sound) / samplerate, low, high)


def make_scene(kind, background, snr, samplerate=48000, seed=0, seconds=SECONDS):
    """Return `EVENTS` events of one kind in noise, at least 0.6 s apart."""
    rng = np.random.default_rng(
        [seed, samplerate, *kind.encode(), *background.encode()]
    )
    frames = int(seconds * samplerate)
    ambient = noise(background, rng, frames, samplerate)
    samples = ambient.copy()
    truths = []
    slot = seconds / EVENTS
    for index in range(EVENTS):
        sound, low, high = event(kind, rng, samplerate)
        spare = slot - 0.6 - len(sound) / samplerate
        start = index * slot + 0.3 + rng.uniform(0, max(spare, 0))
        truths.append(place(samples, samplerate, sound, start, low, high, snr, ambient))
    return Scene(samples.astype(np.float32), samplerate, tuple(truths))


def make_empty_scene(background, samplerate=48000, seed=0, seconds=SECONDS):
    """Return noise without events."""
    rng = np.random.default_rng([seed, samplerate, *b"empty", *background.encode()])
    samples = noise(background, rng, int(seconds * samplerate), samplerate)
    return Scene(samples.astype(np.float32), samplerate, ())


def speak(sentence, voice="en"):
    """Return what espeak-ng says, and its samplerate; None when it is not there."""
    if shutil.which("espeak-ng") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run(
            ["espeak-ng", "-v", voice, "-w", str(path), sentence], check=True
        )
        with wave.open(str(path)) as file:
            samplerate = file.getframerate()
            content = file.readframes(file.getnframes())
    samples = np.frombuffer(content, "<i2") / 32768
    loud = np.flatnonzero(np.abs(samples) > 0.01)
    return samples[loud[0] : loud[-1] + 1], samplerate


def make_speech_scene(background, snr, seed=0):
    """Return spoken sentences 1.5 s apart in noise; None without espeak-ng.

    The ratio is that of the band from 200 Hz to 8 kHz, over the whole sentence.
    """
    rng = np.random.default_rng([seed, *b"speech", *background.encode()])
    spoken = [speak(sentence) for sentence in SENTENCES]
    if any(one is None for one in spoken):
        return None
    samplerate = spoken[0][1]
    frames = sum(len(one[0]) for one in spoken) + int(1.5 * samplerate) * 6
    ambient = noise(background, rng, frames, samplerate)
    samples = ambient.copy()
    truths = []
    start = 1.5
    for sound, _ in spoken:
        truths.append(place(samples, samplerate, sound, start, 200, 8000, snr, ambient))
        start = truths[-1].end + 1.5
    return Scene(samples.astype(np.float32), samplerate, tuple(truths))
