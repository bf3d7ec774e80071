"""Contiguity and exactness through real sounddevice, PortAudio and ALSA.

The runs go on side by side, which also keeps both cores busy. The long run is
``python tests/bench/capture.py --seconds 600 --load 2 --late 5``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from acoupi.testing import VirtualMicrophone

BENCH = Path(__file__).parents[1] / "bench" / "capture.py"

RUNS = {
    "48 kHz": ["--samplerate=48000", "--load=1", "--late=5"],
    "384 kHz": ["--samplerate=384000", "--load=1", "--late=5"],
    "stalled": ["--samplerate=48000", "--stall=6", "--ring=2", "--duration=0.5"],
    "restarted": ["--samplerate=48000", "--restart=1"],
}


@pytest.fixture(scope="module")
def results():
    missing = VirtualMicrophone.missing()
    if missing:
        pytest.skip(missing)
    command = [sys.executable, str(BENCH), "--json", "--seconds=20", "--channels=2"]
    processes = {
        name: subprocess.Popen(
            [*command, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, options in RUNS.items()
    }
    results = {}
    try:
        for name, process in processes.items():
            output, errors = process.communicate(timeout=80)
            assert process.returncode == 0, errors
            results[name] = json.loads(output)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    return results


@pytest.mark.parametrize("name", ["48 kHz", "384 kHz"])
def test_no_sample_is_lost_or_doubled_between_recordings(results, name):
    result = results[name]
    assert result["recordings"] >= 12
    assert result["frames"] >= 12 * result["samplerate"]
    assert (result["missing"], result["doubled"]) == (0, 0)
    assert result["samples_lost"] == 0
    assert result["takes"] == 1
    assert result["worst_date_ms"] < 5


def test_a_stall_longer_than_the_buffers_is_reported_to_the_exact_sample(results):
    result = results["stalled"]
    assert result["missing"] > 48_000, result
    assert result["samples_lost"] == result["missing"]
    assert result["doubled"] == 0
    assert result["misplaced"] == 0


def test_recording_goes_on_when_the_sound_server_comes_back(results):
    result = results["restarted"]
    assert result["takes"] == 2
    assert result["reopenings"] == 1
    assert result["away"] > 1
    assert (result["missing"], result["doubled"]) == (0, 0)


def test_the_recording_process_never_imports_numpy(results):
    assert not any(result["numpy"] for result in results.values())
