"""The view of a running sensor: what is new, how far it is, what it did."""

from __future__ import annotations

import datetime
import io
import json
import time
import zoneinfo

import pytest

from acoupi import data
from acoupi.components import SqliteStore
from acoupi.components.health import clock_state
from acoupi.system import live
from acoupi.system.live import LiveView, StoreFollower

NOON = datetime.datetime(2026, 6, 1, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metadata.db"


@pytest.fixture
def store(path):
    store = SqliteStore(path)
    yield store
    store.database.close()


def detection(start=0.5, score=0.8, label="2-4 kHz"):
    return data.Detection(
        location=data.BoundingBox.from_coordinates(start, 2000, start + 0.25, 4000),
        detection_score=score,
        tags=[data.PredictedTag(data.Tag("band", label), score)],
        prediction_type="event",
    )


def add(store, *detections, seconds=0, lost=0, model="activity"):
    report = data.CaptureReport(
        gaps=(data.SampleGap(at=10, lost=lost),) if lost else ()
    )
    recording = data.Recording(
        created_on=NOON + datetime.timedelta(seconds=seconds),
        duration=3,
        samplerate=48_000,
        deployment=store.get_current_deployment(),
        capture=report,
    )
    store.store_recording(recording)
    store.store_model_output(
        data.ModelOutput(
            name_model=model, recording=recording, detections=list(detections)
        )
    )


def test_each_detection_is_seen_once_and_what_was_there_before_never(store, path):
    add(store, detection(), lost=7)
    follower = StoreFollower(path)
    assert follower.new_detections() == []
    add(store, detection(1.5, label="b"), detection(0.5, label="a"), seconds=10)
    seen = follower.new_detections()
    assert [one.label for one in seen] == ["a", "b"], "in the order of their times"
    assert seen[0].time == NOON + datetime.timedelta(seconds=10.5)
    assert seen[0].band == "2.0-4.0 kHz"
    assert seen[0].duration == pytest.approx(0.25)
    assert follower.new_detections() == []
    counts = follower.counts()
    assert (counts.recordings, counts.analysed, counts.detections) == (1, 1, 2)
    assert counts.samples_lost == 0, "what was lost before does not count"
    follower.close()


def test_a_store_that_does_not_exist_yet_is_followed_from_its_beginning(path):
    follower = StoreFollower(path)
    assert follower.new_detections() == []
    assert follower.counts().recordings == 0
    store = SqliteStore(path)
    add(store, detection(), lost=5)
    assert len(follower.new_detections()) == 1
    assert follower.counts().samples_lost == 5
    follower.close()
    store.database.close()


def test_a_file_that_is_no_store_is_left_alone(path):
    path.write_text("something else")
    follower = StoreFollower(path)
    assert follower.new_detections() == []
    assert follower.counts() == live.Counts()
    assert path.read_text() == "something else"


def test_many_detections_come_in_pages_and_none_is_missed(store, path, monkeypatch):
    monkeypatch.setattr(live, "PAGE", 3)
    follower = StoreFollower(path)
    add(store, *(detection(i / 10) for i in range(8)))
    pages = [len(follower.new_detections()) for _ in range(4)]
    assert pages == [3, 3, 2, 0]
    follower.close()


def test_a_detection_without_place_or_tag_is_shown_by_its_model(store, path):
    follower = StoreFollower(path)
    add(store, data.Detection(detection_score=0.5), model="birds")
    (seen,) = follower.new_detections()
    assert (seen.label, seen.band, seen.duration) == ("birds", "-", None)
    assert seen.time == NOON
    follower.close()


class Terminal(io.StringIO):
    def isatty(self):
        return True


def write_status(path, age=0.0, **values):
    path.write_text(
        json.dumps(
            {
                "recording": True,
                "updated_monotonic": time.monotonic() - age,
                "boot_id": clock_state().boot_id,
                **values,
            }
        )
    )


def test_lines_have_time_band_length_score_and_label_in_the_sensors_time_zone(
    store, path, tmp_path
):
    out = io.StringIO()
    view = LiveView(
        path, tmp_path / "recorder.json", out, zoneinfo.ZoneInfo("Asia/Tokyo")
    )
    add(store, detection())
    view.refresh()
    assert out.getvalue() == (
        "21:00:00.5      2.0-4.0 kHz   0.25 s  score 0.80  2-4 kHz\n"
    )
    assert "\x1b" not in out.getvalue()
    view.finish()


def test_on_a_terminal_the_progress_line_is_redrawn_in_place(store, path, tmp_path):
    out = Terminal()
    status = tmp_path / "recorder.json"
    write_status(status, level_dbfs=-43.2, problems=["silence"], samples_lost=12)
    view = LiveView(path, status, out)
    view.refresh()
    view._count_again = 0
    add(store, detection())
    view.refresh()
    shown = out.getvalue()
    assert shown.count("\n") == 1, "only the detection ends a line"
    assert shown.count("\r\x1b[K") >= 3
    last = view.progress()
    for part in ("recording", "1 recordings", "12 samples lost", "1 detections"):
        assert part in last
    assert "level -43 dBFS" in last
    assert "silence" in last
    view.finish()


def test_elsewhere_progress_is_a_line_now_and_then(store, path, tmp_path):
    out = io.StringIO()
    view = LiveView(path, tmp_path / "r.json", out, progress_every=0.05)
    view.refresh()
    assert out.getvalue() == ""
    time.sleep(0.06)
    view.refresh()
    assert out.getvalue().startswith("not recording (yet)")
    assert out.getvalue().count("\n") == 1


def test_an_old_status_of_the_recorder_is_not_taken_for_the_present(path, tmp_path):
    status = tmp_path / "recorder.json"
    write_status(status, age=3600, samples_lost=99)
    view = LiveView(path, status, io.StringIO())
    assert "not recording (yet)" in view.progress()
    assert "0 samples lost" in view.progress()


def test_losses_are_not_forgotten_when_the_recorder_starts_anew(path, tmp_path):
    status = tmp_path / "recorder.json"
    view = LiveView(path, status, io.StringIO())
    write_status(status, samples_lost=100)
    view.progress()
    write_status(status, samples_lost=0)
    assert "100 samples lost" in view.progress()


def test_the_summary_tells_what_was_done_and_where_the_files_are(store, path, tmp_path):
    out = io.StringIO()
    view = LiveView(
        path, tmp_path / "r.json", out, places={"recordings": tmp_path / "rec"}
    )
    add(store, detection(), lost=3)
    view.run(lambda _: True)
    summary = out.getvalue().partition("Ran for ")[2]
    assert "recordings    1 (0 kept, 0 deleted, 1 left for the next start)" in summary
    assert "samples lost  3" in summary
    assert "detections    1 in 1 analysed" in summary
    assert str(tmp_path / "rec") in summary


def test_a_program_without_a_known_store_is_still_viewed(tmp_path):
    out = io.StringIO()
    LiveView(None, tmp_path / "r.json", out).run(lambda _: True)
    assert "recordings    0" in out.getvalue()
