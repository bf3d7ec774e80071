"""What was not recorded because the recorder was killed is counted."""

from __future__ import annotations

import datetime
import json
import time

import pytest

from acoupi import data
from acoupi.audio.wallclock import read_boot_id
from acoupi.components.recorders import MicrophoneConfig, MicrophoneRecorder
from acoupi.components.recorders.interruption import Interruption
from acoupi.testing import wait_until

NOON = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)


def told(**more):
    return {
        "recording": True,
        "boot_id": read_boot_id(),
        "since": NOON.isoformat(),
        "last_recording_on": (NOON + datetime.timedelta(seconds=10)).isoformat(),
        "updated_monotonic": 100.0,
        **more,
    }


@pytest.fixture
def status_file(tmp_path):
    path = tmp_path / "recorder.json"
    path.write_text(json.dumps(told()))
    return path


def recording_at(seconds, duration=2.0):
    return data.Recording(
        created_on=NOON + datetime.timedelta(seconds=seconds),
        duration=duration,
        samplerate=8000,
        deployment=data.Deployment(name="x"),
    )


def test_the_sound_between_the_last_and_the_next_recording_is_lost(status_file):
    interruption = Interruption.read(status_file, 2.0)
    # Known until 12 s; the next begins at 15.5 s.
    assert interruption.lost_until(recording_at(15.5), 0.0, lambda: 106.0) == 28_000


def test_a_pause_that_is_wanted_is_not_lost(status_file):
    interruption = Interruption.read(status_file, 2.0)
    assert interruption.lost_until(recording_at(15.5), 3.0, lambda: 106.0) == 4000
    assert interruption.lost_until(recording_at(15.5), 8.0, lambda: 106.0) == 0


def test_when_the_clock_was_set_meanwhile_the_monotonic_one_tells(status_file):
    interruption = Interruption.read(status_file, 2.0)
    for shift in (-86_400, 86_400):
        lost = interruption.lost_until(recording_at(15.5 + shift), 0.0, lambda: 106.0)
        assert lost == 32_000


def test_the_first_recording_of_all_counts_from_the_start(status_file):
    status_file.write_text(json.dumps(told(last_recording_on=None)))
    interruption = Interruption.read(status_file, 2.0)
    assert interruption.last_sound_on == NOON


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(told(recording=False)),
        json.dumps(told(boot_id="another")),
        json.dumps(told(last_recording_on="yesterday")),
        "{}",
        "[]",
        "",
    ],
)
def test_after_an_orderly_end_or_another_boot_nothing_was_lost(status_file, text):
    status_file.write_text(text)
    assert Interruption.read(status_file, 2.0) is None


def test_without_a_status_file_nothing_is_known(tmp_path):
    assert Interruption.read(None, 2.0) is None
    assert Interruption.read(tmp_path / "none.json", 2.0) is None


def test_a_recorder_that_follows_a_killed_one_tells_what_is_missing(tmp_path):
    status_file = tmp_path / "recorder.json"
    past = data.utc_now() - datetime.timedelta(seconds=30)
    status_file.write_text(
        json.dumps(
            told(
                last_recording_on=past.isoformat(),
                updated_monotonic=time.monotonic() - 29,
            )
        )
    )
    recorder = MicrophoneRecorder(
        MicrophoneConfig(source="signal", samplerate=8000),
        0.2,
        dirpath=tmp_path / "audio",
        status_file=status_file,
    )
    recorder.start(lambda: data.Deployment(name="x"))
    try:
        wait_until(lambda: recorder.recordings_made >= 2, timeout=30)
    finally:
        recorder.stop()
    losses = [it for it in recorder.take_losses() if "away" in it.reason]
    first = next(recorder.harvest())
    gap = (first.created_on - past).total_seconds() - 0.2
    assert [it.kind for it in losses] == ["samples"]
    assert losses[0].count == pytest.approx(gap * 8000, abs=100)
    # In order this time.
    assert Interruption.read(status_file, 0.2) is None
