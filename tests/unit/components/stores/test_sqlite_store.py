"""What is stored is what is read, once, whatever is repeated."""

import datetime
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acoupi import data
from acoupi.components.stores import SqliteStore

UTC = datetime.UTC
START = datetime.datetime(2026, 5, 1, 4, 30, 0, 123456, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "acoupi.db")


def make_recording(**fields) -> data.Recording:
    given = {
        "created_on": START,
        "duration": 3,
        "samplerate": 48_000,
        "deployment": data.Deployment(name="wood", latitude=51.5, longitude=-0.1),
        "path": Path(f"/tmp/audio/{uuid4()}.wav"),
    }
    return data.Recording(**{**given, **fields})


def make_output(recording=None, name="model", scores=(0.9, 0.4), **fields):
    return data.ModelOutput(
        name_model=name,
        recording=recording or make_recording(),
        detections=[
            data.Detection(
                detection_score=score,
                location=data.BoundingBox.from_coordinates(0.5, 2000, 1.25, 8000),
                tags=[
                    data.PredictedTag(data.Tag("species", "Myotis"), score),
                    data.PredictedTag(data.Tag("event", "call"), score / 2),
                ],
            )
            for score in scores
        ],
        **fields,
    )


def dump(store: SqliteStore) -> dict:
    """Return every row of every table."""
    with store.database.reading() as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
        ).fetchall()
        return {
            name: connection.execute(f"SELECT * FROM {name}").fetchall()
            for (name,) in tables
        }


def test_what_is_read_equals_what_was_stored(store):
    capture = data.CaptureReport(
        device="usb-1",
        first_frame=7,
        gaps=(data.SampleGap(at=3, lost=2),),
        peak_dbfs=-3.5,
        clock=data.ClockState(synchronised=False, boot_id="b", monotonic=1.5),
    )
    recording = make_recording(capture=capture, time_expansion=10, audio_channels=2)
    outputs = [
        make_output(recording),
        make_output(recording, "empty", scores=()),
        data.ModelOutput(
            name_model="kinds",
            recording=recording,
            detections=[
                data.Detection(),
                data.EventDetection(detection_score=0.5),
                data.SequenceDetection(detection_score=0.25),
            ],
        ),
    ]
    for output in outputs:
        assert store.store_model_output(output)
    assert store.get_recordings() == [(recording, outputs)]


coordinate = st.floats(0, 1000, allow_nan=False, width=32)
scores = st.floats(0, 1, allow_nan=False)
tags = st.builds(data.PredictedTag, st.builds(data.Tag, st.text(), st.text()), scores)
boxes = st.tuples(coordinate, coordinate, coordinate, coordinate).map(
    lambda c: data.BoundingBox.from_coordinates(c[0], c[1], c[0] + c[2] + 1, c[1] + 1)
)
detections = st.builds(
    data.Detection,
    id=st.uuids(version=4),
    location=st.none() | boxes,
    detection_score=scores,
    tags=st.lists(tags, max_size=4),
    prediction_type=st.sampled_from(["presence", "sequence", "event"]),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(detections, max_size=5), st.datetimes(), st.floats(0.001, 1e6))
def test_any_output_is_read_back_equal(store, found, created_on, duration):
    recording = make_recording(created_on=created_on, duration=duration)
    output = data.ModelOutput(
        name_model="any", recording=recording, detections=found, created_on=created_on
    )
    store.store_model_output(output)
    assert store.get_recordings([recording.id]) == [(recording, [output])]


def test_there_is_one_output_per_recording_and_model(store):
    output = make_output()
    assert store.store_model_output(output) is True
    before = dump(store)
    other = make_output(output.recording, scores=(0.1, 0.2, 0.3))
    assert store.store_model_output(other) is False
    assert store.store_model_output(output) is False
    assert dump(store) == before
    assert store.store_model_output(make_output(output.recording, "other")) is True


def test_storing_a_recording_again_changes_nothing(store):
    recording = make_recording()
    store.store_recording(recording)
    store.update_recording_path(recording, Path("/kept/a.wav"))
    before = dump(store)
    store.store_recording(recording)
    assert dump(store) == before


def test_an_output_that_cannot_be_stored_whole_is_not_stored(store):
    recording = make_recording()
    store.store_recording(recording)
    before = dump(store)
    output = make_output(recording)
    broken = output.detections[1].model_copy(update={"detection_score": None})
    output = output.model_copy(update={"detections": [output.detections[0], broken]})
    with pytest.raises(Exception, match="NOT NULL"):
        store.store_model_output(output)
    assert dump(store) == before


def test_recordings_are_found_by_id_and_by_path_in_any_number(store):
    recordings = [make_recording() for _ in range(1200)]
    with store.transaction():
        for recording in recordings:
            store.store_recording(recording)
    ids = [recording.id for recording in recordings]
    found = store.get_recordings([*ids[:1100], uuid4()])
    assert [recording for recording, _ in found] == recordings[:1100]
    paths = [recording.path for recording in recordings[5:10]]
    found = store.get_recordings_by_path([*paths, Path("/nowhere")])
    assert [recording for recording, _ in found] == recordings[5:10]
    assert store.get_recordings([]) == []
    assert store.get_recordings_by_path([]) == []


def test_recordings_between_two_times_come_in_order_of_time(store):
    times = [START + datetime.timedelta(minutes=m) for m in (9, 3, 6, 0)]
    for time in times:
        store.store_recording(make_recording(created_on=time))
    found = store.get_recordings_between(
        START, START + datetime.timedelta(minutes=9), limit=2
    )
    assert [r.created_on for r, _ in found] == sorted(times)[:2]
    assert len(store.get_recordings_between(START)) == 4


def test_a_path_is_updated_and_forgotten(store):
    recording = make_recording()
    store.store_recording(recording)
    kept = store.update_recording_path(recording, Path("/kept/a.wav"))
    assert kept == recording.model_copy(update={"path": Path("/kept/a.wav")})
    assert store.get_recordings_by_path([Path("/kept/a.wav")]) == [(kept, [])]
    assert store.get_state(recording) == "kept"
    gone = store.update_recording_path(kept, None)
    assert gone.path is None
    assert store.get_state(recording) == "deleted"


def test_predicted_tags_are_chosen_by_time_score_and_model(store):
    early = make_output(make_recording(created_on=START), "a", (0.8,))
    late_time = START + datetime.timedelta(hours=1)
    late = make_output(make_recording(created_on=late_time), "b", (0.5,))
    store.store_model_output(late)
    store.store_model_output(early)

    def scores(**chosen):
        return [t.confidence_score for t in store.get_predicted_tags(**chosen)]

    assert scores() == [0.8, 0.4, 0.5, 0.25]
    assert scores(after=START, before=late_time) == [0.8, 0.4]
    assert scores(after=late_time) == [0.5, 0.25]
    assert scores(score_gt=0.4) == [0.8, 0.5]
    assert scores(model_names=["b"]) == [0.5, 0.25]
    assert scores(model_names=[]) == []
    naive = START.replace(tzinfo=None)
    assert scores(before=naive + datetime.timedelta(minutes=1)) == [0.8, 0.4]


def test_a_deployment_is_started_when_there_is_none_and_only_once(store):
    first = store.get_current_deployment()
    assert first.name == "unnamed"
    assert store.get_current_deployment() == first


def test_the_current_deployment_is_the_one_started_last_and_not_ended(store):
    first = data.Deployment(name="first")
    # the clock was ahead when the first one began
    second = data.Deployment(name="second", started_on=START)
    store.store_deployment(first)
    store.store_deployment(second)
    assert store.get_current_deployment() == second
    store.update_deployment(second.model_copy(update={"ended_on": data.utc_now()}))
    assert store.get_current_deployment() == first
    assert [d.name for d in store.get_deployments()] == ["first", "second"]


def test_a_deployment_that_came_with_an_old_file_is_not_the_current_one(store):
    current = data.Deployment(name="current")
    store.store_deployment(current)
    store.store_recording(make_recording())
    assert store.get_current_deployment() == current


def test_the_deployment_outlives_a_database_that_was_set_aside(store):
    wood = data.Deployment(name="wood", latitude=51.5, longitude=-0.1)
    store.store_deployment(wood)
    assert store.get_current_deployment() == wood
    store.database._set_aside("test")
    # another process, which never asked before, begins the new file
    stranger = SqliteStore(store.path)
    assert not stranger.knows_deployment(wood)
    assert stranger.get_current_deployment().name == "unnamed"
    assert store.get_current_deployment() == wood
    assert stranger.get_current_deployment() == wood


def test_an_ended_deployment_does_not_come_back(store):
    wood = data.Deployment(name="wood")
    store.store_deployment(wood)
    assert store.get_current_deployment() == wood
    SqliteStore(store.path).update_deployment(
        wood.model_copy(update={"ended_on": data.utc_now()})
    )
    assert store.get_current_deployment().name == "unnamed"
    assert store.get_current_deployment().name == "unnamed"


def test_a_change_of_the_deployment_shows_in_its_recordings(store):
    recording = make_recording()
    store.store_recording(recording)
    moved = recording.deployment.model_copy(update={"latitude": 10.0})
    store.update_deployment(moved)
    ((found, _),) = store.get_recordings()
    assert found.deployment == moved
