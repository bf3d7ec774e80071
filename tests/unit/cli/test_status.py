"""The status on one screen, for people."""

from __future__ import annotations

import pytest

from acoupi.cli import main
from acoupi.cli.output import clock_face

PROCESSES = [
    {"name": f"worker-{name}", "state": "running", "pid": 7, "restarts": restarts}
    for name, restarts in (("recording", 0), ("detection", 3))
]

RECORDER = {
    "current": True,
    "recording": True,
    "capturing": True,
    "since": "2026-07-01T03:00:00+00:00",
    "device": "usb:1:2-3",
    "samplerate": 384_000,
    "samples_lost": 12,
    "level_dbfs": -41.2,
    "peak_dbfs": -3.0,
}

STORE = {
    "recordings": 30,
    "kept": 10,
    "deleted": 15,
    "set_aside": 1,
    "undecided": 4,
    "detections": 99,
    "last_recording_on": "2026-07-01T04:00:00+00:00",
    "last_detection_on": "2026-07-01T03:59:57.123456+00:00",
    "losses": {"samples": 12},
}

FOUND = {
    "home": "/srv/pond",
    "program": "acoupi.programs.activity",
    "managed_by": None,
    "timezone": "Europe/London",
    "running": True,
    "kept_by": "systemd",
    "processes": PROCESSES,
    "recorder": RECORDER,
    "store": STORE,
    "messages": {"mqtt": {"waiting": 3, "sent": 20, "parked": 0, "expired": 0}},
    "disk": {
        "path": "/srv",
        "total_bytes": 32e9,
        "free_bytes": 8.25e9,
        "days_left": 41.0,
        "low": False,
    },
    "clock": {"synchronised": True},
    "deployment": {
        "name": "Pond",
        "started_on": "2026-06-30T12:00:00Z",
        "ended_on": None,
    },
    "problems": ["the microphone clips"],
}


@pytest.fixture
def show(monkeypatch, capsys):
    def show(**changes):
        monkeypatch.setattr(
            "acoupi.system.health.status", lambda _: {**FOUND, **changes}
        )
        assert main(["status"]) == 0
        return capsys.readouterr().out

    return show


def test_one_screen_says_everything_that_is_promised(show):
    shown = show()
    assert len(shown.splitlines()) <= 24
    assert max(len(line) for line in shown.splitlines()) <= 100
    for promised in (
        "worker-recording: running",
        "3 restarts",
        "yes, since 2026-07-01 04:00:00 BST",
        "12 samples lost",
        "usb:1:2-3, 384000 Hz, level -41 dBFS, peak -3 dBFS",
        "4 undecided",
        "last detection 2026-07-01 04:59:57 BST",
        "to mqtt: 3 waiting",
        "8.2 GB free at /srv, for 41 days",
        "set",
        "Pond since 2026-06-30 13:00:00 BST",
        "Problem: the microphone clips",
    ):
        assert promised in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recording": False, "waiting_on_purpose": True}, "waiting, as its schedule"),
        ({"recording": False, "capturing": False}, "no, the microphone is away"),
        ({"current": False}, "Recording   no"),
    ],
)
def test_why_nothing_is_recorded_is_said(show, changes, said):
    assert said in show(recorder={**RECORDER, **changes})


def test_nothing_that_is_unknown_is_shown(show):
    shown = show(
        recorder=None,
        store=None,
        messages=None,
        disk=None,
        deployment=None,
        problems=[],
    )
    assert "None" not in shown
    assert "Recording   no" in shown


@pytest.mark.parametrize("timezone", [None, "Mars/Olympus", "", 3])
def test_an_unknown_time_zone_shows_the_machines(monkeypatch, timezone):
    monkeypatch.setenv("TZ", "UTC")
    import time

    time.tzset()
    try:
        show = clock_face(timezone)
        assert show("2026-07-01T03:00:00+00:00") == "2026-07-01 03:00:00 UTC"
    finally:
        monkeypatch.undo()
        time.tzset()


def test_what_is_no_time_is_shown_as_it_is():
    assert clock_face("UTC")("some day") == "some day"
