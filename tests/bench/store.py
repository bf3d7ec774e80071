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

from pydantic import TypeAdapter

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


def measure_writing(folder: Path, outputs: list[data.ModelOutput], steps: int) -> float:
    """Return the seconds to store everything, in one or two commits a recording."""
    store = SqliteStore(folder / f"{steps}.db")
    store.get_current_deployment()
    start = time.perf_counter()
    for output in outputs:
        if steps == 2:
            store.store_recording(output.recording)
        store.store_model_output(output)
    return time.perf_counter() - start


def measure_reading(folder: Path, outputs: list[data.ModelOutput]) -> list[float]:
    """Return the seconds of several readings, each checked to be equal."""
    store = SqliteStore(folder / "1.db")
    expected = [(output.recording, [output]) for output in outputs]
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        found = store.get_recordings()
        seconds.append(time.perf_counter() - start)
        assert found == expected, "what was read differs from what was stored"
        del found
    return seconds


def main() -> None:
    place = sys.argv[1] if len(sys.argv) > 1 else "."
    outputs = make_outputs()
    print(f"store: {RECORDINGS} recordings x {DETECTIONS} detections, each durable")
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        for steps in (1, 2):
            flush = measure_flush(folder)
            seconds = measure_writing(folder, outputs, steps)
            print(f"  written, {steps} commit(s) a recording: {seconds:.2f} s")
            floor = steps * RECORDINGS * flush
            print(f"    limit: so many flushes of this disk take {floor:.2f} s")
        reading = sorted(measure_reading(folder, outputs))
        size = (folder / "1.db").stat().st_size / RECORDINGS
    middle = reading[len(reading) // 2]
    print(f"  read back: {reading[0]:.3f} s (median {middle:.3f} s)")
    print(
        "    limit: the objects alone, made from dictionaries, take "
        f"{measure_making(outputs):.3f} s"
    )
    print(f"  size: {size:.0f} bytes a recording")


def measure_making(outputs: list[data.ModelOutput]) -> float:
    """Return the seconds that pydantic needs to make the same objects."""
    adapter = TypeAdapter(list[data.ModelOutput])
    rows = adapter.dump_python(outputs)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        adapter.validate_python(rows)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
