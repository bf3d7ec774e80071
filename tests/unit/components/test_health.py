from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from acoupi import data
from acoupi.audio.wallclock import read_boot_id
from acoupi.components import SqliteMessageStore, SqliteStore
from acoupi.components.health import (
    STATUS_MAX_AGE,
    clock_state,
    collect_metrics,
    read_recorder_status,
)
from acoupi.testing import FakeMessageStore, make_model_output, make_recording

STATUS = {
    "recording": True,
    "device": "usb mic",
    "samples_lost": 12,
    "reopen_count": 1,
    "recordings_dropped": 2,
    "last_recording_on": "2026-06-01T05:00:00+00:00",
    "level_dbfs": -42.5,
    "peak_dbfs": -10.0,
    "problems": ["too loud"],
}


def write_status(path, age=0.0, boot_id=None, **changes):
    content = {
        **STATUS,
        "boot_id": boot_id or read_boot_id(),
        "updated_monotonic": time.monotonic() - age,
        **changes,
    }
    path.write_text(json.dumps(content))


def by_name(metrics):
    assert len({metric.name for metric in metrics}) == len(metrics)
    return {metric.name: metric.value for metric in metrics}


def test_the_machine_tells_memory_load_clock_and_uptime():
    values = by_name(collect_metrics())

    assert values["memory_total"] > values["memory_available"] > 0
    assert values["cpus"] >= 1
    assert values["uptime"] > 0
    assert isinstance(values["load"], float)
    assert isinstance(values["clock_synchronised"], bool)


def test_clock_state_is_of_this_boot_and_instant():
    before = time.monotonic()
    state = clock_state()

    assert state.boot_id == read_boot_id()
    assert before <= state.monotonic <= time.monotonic()


def test_the_recorder_is_reported(tmp_path):
    file = tmp_path / "recorder.json"
    write_status(file)

    values = by_name(collect_metrics(status_file=file))

    assert values["recording"] is True
    assert values["samples_lost"] == 12
    assert values["microphone_level"] == -42.5
    assert values["microphone_peak"] == -10.0
    assert values["microphone"] == "usb mic"
    assert values["microphone_problems"] == "too loud"


@pytest.mark.parametrize("waits", [False, True])
def test_between_two_recordings_it_counts_as_recording_unless_it_waits(tmp_path, waits):
    file = tmp_path / "recorder.json"
    write_status(file, recording=False, capturing=True, waiting_on_purpose=waits)

    values = by_name(collect_metrics(status_file=file))

    assert values["recording"] is not waits


@pytest.mark.parametrize(
    "changes",
    [{"age": STATUS_MAX_AGE + 1}, {"boot_id": "another"}, {"updated_monotonic": None}],
)
def test_a_status_of_the_past_does_not_claim_to_record(tmp_path, changes):
    file = tmp_path / "recorder.json"
    write_status(file, **changes)

    values = by_name(collect_metrics(status_file=file))

    assert values["recording"] is False
    assert values["samples_lost"] == 12
    assert "microphone_level" not in values


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff", b'{"a": 1}'])
def test_no_or_a_broken_status_means_not_recording(tmp_path, content):
    file = tmp_path / "recorder.json"
    if content is not None:
        file.write_bytes(content)

    assert by_name(collect_metrics(status_file=file))["recording"] is False
    status = read_recorder_status(file)
    assert status is None or status["current"] is False


def test_stores_are_counted(tmp_path):
    store = SqliteStore(tmp_path / "store.db")
    outbox = SqliteMessageStore(tmp_path / "store.db", destinations=["mqtt", "http"])
    done, undone = make_recording(), make_recording()
    store.store_recording(done)
    store.store_recording(undone)
    store.store_model_output(make_model_output(done))
    store.add_loss("samples", 5, "overflow")
    store.add_loss("samples", 6, "stall")
    message = data.Message(content="a")
    outbox.store_message(message)
    outbox.mark_sent(message, "mqtt")

    values = by_name(
        collect_metrics(store=store, message_store=outbox, required_models=["fake"])
    )

    assert values["recordings"] == 2
    assert values["detections"] == 1
    assert values["backlog"] == 1
    assert values["lost.samples"] == 11
    assert values["messages_waiting.http"] == 1
    assert values["messages_waiting.mqtt"] == 0
    assert values["messages_sent.mqtt"] == 1


def test_a_plain_message_store_is_counted_too():
    store = FakeMessageStore()
    store.store_message(data.Message(content="a"))

    assert by_name(collect_metrics(message_store=store))["messages_waiting"] == 1


def test_one_file_system_is_reported_once_and_a_missing_folder_by_its_parent(tmp_path):
    metrics = collect_metrics(paths=[tmp_path, tmp_path / "not" / "yet"])

    free = [metric for metric in metrics if metric.name.startswith("disk_free")]
    assert [metric.name for metric in free] == [f"disk_free.{tmp_path}"]
    assert free[0].unit == "B"
    assert free[0].value > 0


def test_a_broken_source_does_not_hide_the_others(tmp_path):
    class Broken:
        def counts(self):
            raise OSError("disk gone")

    values = by_name(
        collect_metrics(store=Broken(), message_store=Broken(), paths=[tmp_path])
    )

    assert "memory_total" in values
    assert f"disk_free.{tmp_path}" in values


def test_health_is_importable_without_heavy_modules():
    code = (
        "import sys, acoupi.components.health;"
        "print([m for m in ('numpy', 'psutil', 'httpx', 'paho', 'sounddevice')"
        " if m in sys.modules])"
    )

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == "[]"


def test_a_status_that_is_written_to_just_now_is_read_again(tmp_path, monkeypatch):
    file = tmp_path / "recorder.json"
    file.write_text('{"recording": tr')
    assert read_recorder_status(file) is None
    monkeypatch.setattr(time, "sleep", lambda _: write_status(file))
    assert read_recorder_status(file)["current"]
