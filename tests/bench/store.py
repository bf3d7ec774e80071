"""Measures the store: durable writes and reading back, with the disk's own limit.

Run: ``python tests/bench/store.py [folder on the disk to measure]``
"""

from __future__ import annotations

import datetime
import os
import sys
import tempfile
import time
from pathlib import Path

from acoupi import data
from acoupi.components.stores import SqliteStore

RECORDINGS = 1000
DETECTIONS = 10


def make_outputs() -> list[data.ModelOutput]:
    deployment = data.Deployment(name="bench")
    start = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)
    outputs = []
    for number in range(RECORDINGS):
        recording = data.Recording(
            created_on=start + datetime.timedelta(seconds=3 * number),
            duration=3,
            samplerate=48_000,
            deployment=deployment,
            path=Path(f"/tmp/audio/{number}.wav"),
        )
        detections = [
            data.Detection(
                location=data.BoundingBox.from_coordinates(k * 0.2, 2e3, k + 1, 8e3),
                detection_score=(k + 1) / DETECTIONS,
                tags=[
                    data.PredictedTag(
                        data.Tag("species", f"species {(number + k) % 50}"),
                        (k + 1) / DETECTIONS,
                    )
                ],
            )
            for k in range(DETECTIONS)
        ]
        outputs.append(
            data.ModelOutput(
                name_model="bench", recording=recording, detections=detections
            )
        )
    return outputs


def measure_flush(folder: Path, times: int = 200) -> float:
    """Return the seconds of one 4 KiB append with fsync: the floor of a commit."""
    with (folder / "flush").open("wb", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(times):
            file.write(bytes(4096))
            os.fsync(file.fileno())
        return (time.perf_counter() - start) / times


def main() -> None:
    place = sys.argv[1] if len(sys.argv) > 1 else "."
    outputs = make_outputs()
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        flush = measure_flush(folder)
        store = SqliteStore(folder / "metadata.db")
        store.get_current_deployment()
        start = time.perf_counter()
        for output in outputs:
            store.store_recording(output.recording)
            store.store_model_output(output)
        written = time.perf_counter() - start
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            found = store.get_recordings()
            seconds.append(time.perf_counter() - start)
        expected = [(output.recording, [output]) for output in outputs]
        assert found == expected, "what was read differs from what was stored"
        size = store.path.stat().st_size
    floor = 2 * RECORDINGS * flush
    count = f"{RECORDINGS} recordings x {DETECTIONS} detections"
    print(f"store, {count}, 2 commits each: {written:.2f} s")
    print(f"  limit: {2 * RECORDINGS} flushes of this disk take {floor:.2f} s")
    print(f"read back, {count}: {min(seconds):.3f} s (slowest of 5 {max(seconds):.3f})")
    print(f"size: {size / RECORDINGS:.0f} bytes a recording")


if __name__ == "__main__":
    main()
