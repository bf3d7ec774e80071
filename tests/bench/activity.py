"""Measure the activity detector: recall, precision, calibration, speed and memory.

Run ``python tests/bench/activity.py`` (about two minutes). With ``--seeds 4`` it prints
the tables of docs/activity.md. ``--fit`` prints the weights of the score instead, from
scenes that the tables do not use.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from activity_scenes import (
    AUDIBLE,
    NOISES,
    SECONDS,
    ULTRASONIC,
    make_empty_scene,
    make_scene,
    make_speech_scene,
)

from acoupi.components.models.activity import score
from acoupi.components.models.sound_events import find_sound_events

RATIOS = (0, 5, 10, 15, 20)
HELD_OUT = 100
"""First seed of the scenes that are measured; the weights come from lower ones."""
THRESHOLDS = (0.2, 0.5)


def matches(event, truth, slack=0.02):
    """Tell whether event and truth share frequencies and half the shorter's time."""
    shared = min(event.end, truth.end + slack) - max(event.start, truth.start - slack)
    shorter = min(event.end - event.start, truth.end - truth.start)
    return shared > 0.5 * shorter and (
        min(event.high, truth.high) >= max(event.low, truth.low)
    )


class Tally:
    """Counts of truths found and of events that match."""

    def __init__(self):
        self.truths = self.found = self.events = self.right = 0

    def add(self, events, truths):
        self.truths += len(truths)
        self.events += len(events)
        self.found += sum(any(matches(e, t) for e in events) for t in truths)
        self.right += sum(any(matches(e, t) for t in truths) for e in events)

    @property
    def recall(self):
        return self.found / self.truths if self.truths else float("nan")

    @property
    def precision(self):
        return self.right / self.events if self.events else float("nan")


def find(scene, threshold=0.0):
    """Return the events of a scene that score at least the threshold."""
    events = find_sound_events([scene.samples], scene.samplerate)
    return [event for event in events if score(event) >= threshold]


def percent(value):
    return "-" if np.isnan(value) else f"{100 * value:.0f}"


def measure_scenes(samplerate, kinds, noises, seeds, calibration):
    """Print recall by kind, noise and ratio, and precision by noise and ratio."""
    tallies = defaultdict(Tally)
    cases = itertools.product(noises, kinds, RATIOS, seeds)
    for background, kind, ratio, seed in cases:
        scene = make_scene(kind, background, ratio, samplerate, seed)
        events = find(scene)
        calibration += [
            (score(e), any(matches(e, t) for t in scene.truths)) for e in events
        ]
        for threshold in THRESHOLDS:
            kept = [e for e in events if score(e) >= threshold]
            for key in (kind, "all"):
                tallies[threshold, background, key, ratio].add(kept, scene.truths)
    for threshold in THRESHOLDS:
        print(f"\n{samplerate // 1000} kHz, score at least {threshold}, in %:\n")
        print("| noise | | " + " | ".join(f"{ratio} dB" for ratio in RATIOS) + " |")
        print("|---|---|" + "---:|" * len(RATIOS))
        for background, kind in itertools.product(noises, (*kinds, "all")):
            row = [tallies[threshold, background, kind, ratio] for ratio in RATIOS]
            cells = " | ".join(percent(tally.recall) for tally in row)
            print(f"| {background} | recall, {kind} | {cells} |")
            if kind == "all":
                cells = " | ".join(percent(tally.precision) for tally in row)
                print(f"| {background} | **precision, all** | {cells} |")


def measure_empty(seeds):
    """Print false events per minute of noise without events."""
    print("\nFalse events per minute of noise without events:\n")
    print("| noise | 48 kHz, ≥ 0.2 | ≥ 0.5 | 384 kHz, ≥ 0.2 | ≥ 0.5 |")
    print("|---|---:|---:|---:|---:|")
    for background in NOISES:
        cells = []
        for samplerate in (48000, 384000):
            counts = dict.fromkeys(THRESHOLDS, 0)
            for seed in seeds:
                events = find(make_empty_scene(background, samplerate, seed))
                for threshold in THRESHOLDS:
                    counts[threshold] += sum(score(e) >= threshold for e in events)
            minutes = len(seeds) * SECONDS / 60
            cells += [f"{counts[t] / minutes:.1f}" for t in THRESHOLDS]
        print(f"| {background} | " + " | ".join(cells) + " |")


def covered(events, truth):
    moments = np.linspace(truth.start, truth.end, 200)
    return np.mean([any(e.start <= m <= e.end for e in events) for m in moments])


def measure_speech():
    """Print how much of spoken sentences is found."""
    print(
        "\nSpeech of espeak-ng, 22.05 kHz, five sentences, score at least 0.2, in %:\n"
    )
    print("| noise | | 0 dB | 5 dB | 10 dB | 20 dB |")
    print("|---|---|---:|---:|---:|---:|")
    for background in NOISES:
        rows = defaultdict(list)
        for ratio in (0, 5, 10, 20):
            scene = make_speech_scene(background, ratio, HELD_OUT)
            if scene is None:
                print("skipped: espeak-ng is not installed")
                return
            events = find(scene, 0.2)
            tally = Tally()
            tally.add(events, scene.truths)
            rows["sentences found"].append(tally.recall)
            rows["time covered"].append(
                np.mean([covered(events, t) for t in scene.truths])
            )
            rows["precision"].append(tally.precision)
        for name, values in rows.items():
            print(
                f"| {background} | {name} | " + " | ".join(map(percent, values)) + " |"
            )


def print_calibration(calibration):
    print("\nScore against the share of events that are real, all scenes above:\n")
    print("| score | events | real, in % |\n|---|---:|---:|")
    scores = np.array([value for value, _ in calibration])
    right = np.array([value for _, value in calibration])
    for low in np.arange(0, 1, 0.2):
        inside = (scores >= low) & (scores < low + 0.2)
        if inside.any():
            print(
                f"| {low:.1f} to {low + 0.2:.1f} | {inside.sum()} "
                f"| {100 * right[inside].mean():.0f} |"
            )


DETECT = """
import re, sys, time
from pathlib import Path
from acoupi.audio.soundfiles import read_recording
from acoupi.components.models.activity import ActivityDetector
recording = read_recording(Path(sys.argv[1]))
times = []
for _ in range(3):
    begun = time.process_time()
    ActivityDetector().run(recording)
    times.append(time.process_time() - begun)
status = Path("/proc/self/status").read_text()
peak = int(re.search(r"VmHWM:\\s*(\\d+)", status)[1]) / 1024
print(f"{recording.duration / min(times):.0f} | {peak:.0f} MB")
"""


def measure_speed():
    """Print seconds of sound analysed per second of one core's time."""
    import soundfile

    print("\nOne core, a process of its own, reading the file included:\n")
    print("| sound | seconds of sound per second | peak memory of the process |")
    print("|---|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for samplerate, kind in ((48000, "call"), (384000, "sweep")):
            for seconds in (10, 60):
                scene = make_scene(kind, "pink", 15, samplerate, HELD_OUT)
                path = Path(folder) / "scene.wav"
                samples = np.tile(scene.samples, seconds // 10)
                soundfile.write(path, samples, samplerate, "PCM_16")
                done = subprocess.run(
                    [sys.executable, "-c", DETECT, str(path)],
                    check=True,
                    capture_output=True,
                    text=True,
                )
                rate = samplerate // 1000
                print(f"| {rate} kHz, {kind}s, {seconds} s | {done.stdout.strip()} |")


def fit(seeds):
    """Print the logistic regression of "is there an event?" for each kind."""
    rows = defaultdict(list)
    cases = [
        *itertools.product((48000,), NOISES, AUDIBLE, RATIOS, seeds),
        *itertools.product((384000,), ("pink", "rain"), ULTRASONIC, RATIOS, seeds),
    ]
    for samplerate, background, kind, ratio, seed in cases:
        scene = make_scene(kind, background, ratio, samplerate, seed)
        for event in find(scene):
            real = any(matches(event, t) for t in scene.truths)
            size = 1 if event.kind == "click" else event.cells
            rows[event.kind].append((event.snr, np.log2(size), 1.0, real))
    for kind, values in rows.items():
        table = np.array(values, dtype=float)
        features, real = table[:, :3], table[:, 3]
        weights = np.zeros(3)
        for _ in range(50):
            # Newton's method; the small ridge keeps unused weights at zero.
            likely = 1 / (1 + np.exp(-features @ weights))
            slope = features.T @ (real - likely) - 1e-3 * weights
            curve = (features.T * (likely * (1 - likely))) @ features
            weights += np.linalg.solve(curve + 1e-3 * np.eye(3), slope)
        print(f"{kind}: {weights.round(2).tolist()} from {len(table)} events")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="scenes of each sort")
    parser.add_argument("--fit", action="store_true", help="print weights instead")
    parser.add_argument("--speed", action="store_true", help="measure speed only")
    options = parser.parse_args()
    if options.fit:
        fit(range(options.seeds))
        return
    if options.speed:
        measure_speed()
        return
    seeds = range(HELD_OUT, HELD_OUT + options.seeds)
    measure_speed()
    calibration = []
    measure_scenes(48000, AUDIBLE, NOISES, seeds, calibration)
    measure_scenes(
        384000, ULTRASONIC, NOISES, seeds[: max(1, len(seeds) // 2)], calibration
    )
    measure_empty(seeds)
    measure_speech()
    print_calibration(calibration)


if __name__ == "__main__":
    main()
