"""Records a counter through a real microphone device and accounts for every frame.

    python tests/bench/capture.py                        # figures at 48, 192, 384 kHz
    python tests/bench/capture.py --samplerate 384000 --seconds 600 --load 2 --late 5

A sound server of its own paces an ALSA device whose samples are a counter; a recorder
in a process of its own records it, as the recording worker does, and hands recordings
over late. Every recording is compared with the counter, sample by sample.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samplerate", type=int, action="append")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--duration", type=float, default=1.0)
    parser.add_argument("--late", type=float, default=0.5, help="of harvests, in s")
    parser.add_argument("--load", type=int, default=0, help="busy processes")
    parser.add_argument("--ring", type=float, default=20, help="seconds")
    parser.add_argument("--stall", type=float, default=0, help="of the disk, in s")
    parser.add_argument("--freeze", type=float, default=0, help="of the process, in s")
    parser.add_argument("--restart", type=float, default=0, help="server away, in s")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--record", help=argparse.SUPPRESS)
    return parser.parse_args()


# The recording process: nothing here may import numpy.


def record(options: argparse.Namespace) -> None:
    from acoupi import data
    from acoupi.audio import wavwriter
    from acoupi.components.recorders import MicrophoneConfig, MicrophoneRecorder

    directory = pathlib.Path(options.record)
    recorder = MicrophoneRecorder(
        MicrophoneConfig(
            device_name="testmic",
            samplerate=options.samplerate[0],
            audio_channels=options.channels,
        ),
        options.duration,
        dirpath=directory,
        status_file=directory / "status.json",
        ring_seconds=options.ring,
    )
    if options.stall:
        write = wavwriter.WavWriter.write
        stalls = [options.stall]

        def stall(self, samples):
            if recorder.recordings_made == 3 and stalls:
                time.sleep(stalls.pop())
            write(self, samples)

        wavwriter.WavWriter.write = stall
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    deployment = data.Deployment(name="bench")
    recorder.start(lambda: deployment)
    chance = random.Random(1)
    begun = None
    take = None
    while not stopping.wait(chance.uniform(0, options.late)):
        take = recorder.capture.take or take
        hand_over(recorder)
        if begun is None and recorder.recordings_made >= 3:
            begun = time.monotonic(), time.process_time()  # start-up left out
    begun = begun or (0.0, 0.0)
    used = time.process_time() - begun[1]
    last = time.monotonic() - begun[0]
    status = json.loads((directory / "status.json").read_text())
    recorder.stop()
    hand_over(recorder)
    say(
        cpu_share=used / last,
        longest_callback_ms=status["longest_callback_ms"],
        skew_ppm=status["clock_skew_ppm"],
        samples_lost=recorder.samples_lost,
        losses=[[x.kind, x.count, x.reason] for x in recorder.take_losses()],
        reopenings=recorder.capture.openings - 1,
        away=recorder.capture.seconds_away(),
        pss_mb=pss(),
        numpy="numpy" in sys.modules,
    )


def hand_over(recorder) -> None:
    for recording in recorder.harvest():
        capture = recording.capture
        say(
            path=str(recording.path),
            duration=recording.duration,
            first=capture.first_frame,
            gaps=[[gap.at, gap.lost] for gap in capture.gaps],
            created=recording.created_on.timestamp(),
        )


def say(**facts) -> None:
    print(json.dumps(facts), flush=True)


def pss() -> float:
    lines = pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("Pss:")) / 1024


# The observing process.


def make_counter(path: pathlib.Path, seconds: float, rate: int, channels: int) -> None:
    """Write frame numbers: the low 16 bits on channel 1, the high ones on channel 2."""
    import numpy as np

    total = round(seconds * rate)
    with path.open("wb") as file:
        for start in range(0, total, 1 << 20):
            numbers = np.arange(start, min(total, start + (1 << 20)), dtype=np.uint32)
            if channels == 2:
                file.write(numbers.astype("<u4").tobytes())
            else:
                file.write((numbers & 0xFFFF).astype("<u2").tobytes())


class Ledger:
    """Compares recordings with the counter, and what was told with what is."""

    def __init__(self, rate: int, channels: int) -> None:
        self.rate = rate
        self.channels = channels
        self.next = None
        self.frames = 0
        self.recordings = 0
        self.missing = 0
        self.doubled = 0
        self.told = 0
        self.misplaced = 0
        self.takes = 0
        self.worst_date = 0.0
        self._created = None

    def add(self, fact) -> None:
        import numpy as np

        path = pathlib.Path(fact["path"])
        content = path.read_bytes()
        path.unlink()
        start = content.index(b"data") + 8
        frames = round(fact["duration"] * self.rate)
        size = 2 * self.channels * frames
        kind = "<u4" if self.channels == 2 else "<u2"
        numbers = np.frombuffer(content[start : start + size], dtype=kind)
        assert len(numbers) == frames
        numbers = numbers.astype(np.int64)
        modulus = 1 << (16 * self.channels)
        self.recordings += 1
        self.frames += frames
        if fact["first"] == 0:
            self.takes += 1
            self.next = None
        first = numbers[0] if self.next is None else self.next
        jumps = (np.diff(numbers, prepend=first - 1) - 1) % modulus
        jumps[jumps > modulus // 2] -= modulus
        self.missing += int(jumps[jumps > 0].sum())
        self.doubled += int(-jumps[jumps < 0].sum())
        gaps = dict(fact["gaps"])
        self.told += sum(gaps.values())
        for at, lost in fact["gaps"]:
            if 0 < at < frames and jumps[at] != lost:
                self.misplaced += 1
        self.next = (numbers[-1] + 1) % modulus
        if self._created is not None and fact["first"] and not gaps:
            stray = fact["created"] - self._created
            self.worst_date = max(self.worst_date, abs(stray))
        self._created = fact["created"] + fact["duration"]


def observe(options: argparse.Namespace, rate: int) -> dict[str, object]:
    from acoupi.testing import VirtualMicrophone

    missing = VirtualMicrophone.missing()
    if missing:
        raise SystemExit(f"capture bench: {missing}")
    with tempfile.TemporaryDirectory(prefix="cap") as name:
        directory = pathlib.Path(name)
        counter = directory / "counter.raw"
        make_counter(counter, options.seconds + 20, rate, options.channels)
        microphone = VirtualMicrophone(directory, rate, options.channels, counter)
        microphone.start()
        burn = [sys.executable, "-c", "while True: pass"]
        burners = [subprocess.Popen(burn) for _ in range(options.load)]
        command = [sys.executable, __file__, "--record", str(directory / "tmp")]
        command += ["--samplerate", str(rate)]
        for key in ("channels", "duration", "late", "ring", "stall"):
            command += [f"--{key}", str(getattr(options, key))]
        recorder = subprocess.Popen(
            command, env=microphone.environment, stdout=subprocess.PIPE, text=True
        )
        try:
            return watch(options, recorder, microphone, Ledger(rate, options.channels))
        finally:
            for process in (recorder, *burners):
                process.kill()
                process.wait()
            microphone.stop()


def watch(options, recorder, microphone, ledger) -> dict[str, object]:
    threading.Thread(
        target=disturb, args=(options, recorder, microphone), daemon=True
    ).start()
    end = threading.Timer(options.seconds, recorder.terminate)
    end.daemon = True
    end.start()
    summary: dict[str, object] = {}
    for line in recorder.stdout:
        fact = json.loads(line)
        if "path" in fact:
            ledger.add(fact)
        else:
            summary = fact
    recorder.wait(30)
    summary |= {
        "samplerate": ledger.rate,
        "channels": ledger.channels,
        "recordings": ledger.recordings,
        "frames": ledger.frames,
        "takes": ledger.takes,
        "missing": ledger.missing,
        "doubled": ledger.doubled,
        "told": ledger.told,
        "misplaced": ledger.misplaced,
        "worst_date_ms": round(ledger.worst_date * 1000, 3),
    }
    return summary


def disturb(options, recorder, microphone) -> None:
    if options.freeze:
        time.sleep(options.seconds / 3)
        os.kill(recorder.pid, signal.SIGSTOP)
        time.sleep(options.freeze)
        os.kill(recorder.pid, signal.SIGCONT)
    if options.restart:
        time.sleep(options.seconds / 3)
        microphone.stop()
        time.sleep(options.restart)
        microphone.start()


def main() -> None:
    options = parse()
    if options.record:
        record(options)
        return
    for rate in options.samplerate or (48_000, 192_000, 384_000):
        result = observe(options, rate)
        if options.json:
            print(json.dumps(result))
            continue
        print(
            f"{rate / 1000:g} kHz: {result['recordings']} recordings, "
            f"{result['frames']} frames, {result['missing']} missing, "
            f"{result['doubled']} doubled, {result['samples_lost']} told as lost; "
            f"{100 * result['cpu_share']:.1f} % of a core (limit 100), callback at "
            f"most {result['longest_callback_ms']:.2f} ms (limit: the block's length), "
            f"{result['pss_mb']:.0f} MB PSS, dates within {result['worst_date_ms']} ms"
        )


if __name__ == "__main__":
    main()
