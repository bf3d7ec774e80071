"""The data that flows keeps its promises, whoever made it."""

import datetime
import json

import numpy as np
import pytest
from pydantic import ValidationError

from acoupi import data
from acoupi.components import SqliteStore

NOON = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)


def make_recording(**fields) -> data.Recording:
    given = {"created_on": NOON, "duration": 3, "samplerate": 48_000}
    return data.Recording(**given, deployment=data.Deployment(name="wood"), **fields)


def predicted(value: str, score: float = 1) -> data.PredictedTag:
    return data.PredictedTag(data.Tag("species", value), score)


@pytest.mark.parametrize("number", [np.float32, np.float64, np.float16])
def test_the_numbers_of_a_model_are_stored_and_sent_as_numbers(tmp_path, number):
    score = number(0.5)
    output = data.ModelOutput(
        name_model="model",
        recording=make_recording(),
        detections=[
            data.Detection(
                detection_score=score,
                location=data.BoundingBox.from_coordinates(
                    number(0), number(100), number(1), number(200)
                ),
                tags=[predicted("Myotis", score)],
            )
        ],
    )
    store = SqliteStore(tmp_path / "acoupi.db")
    store.store_model_output(output)
    assert store.get_recordings()[0][1] == [output]
    assert store.get_predicted_tags(score_gt=0.4) == [predicted("Myotis", 0.5)]
    sent = json.loads(output.model_dump_json())
    assert sent["detections"][0]["tags"][0]["confidence_score"] == 0.5


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_out_of_range_is_refused(score):
    with pytest.raises(ValueError, match="within"):
        predicted("Myotis", score)
    with pytest.raises(ValidationError):
        data.Detection(detection_score=score)


def test_a_naive_time_is_taken_as_utc_and_any_other_becomes_utc():
    east = datetime.timezone(datetime.timedelta(hours=2))
    for given in (NOON.replace(tzinfo=None), NOON.astimezone(east)):
        times = [
            data.Deployment(name="", started_on=given, ended_on=given).started_on,
            data.Deployment(name="", started_on=given, ended_on=given).ended_on,
            make_recording()
            .model_validate({**make_recording().model_dump(), "created_on": given})
            .created_on,
            data.Message(content="", created_on=given).created_on,
            data.Metric(name="", value=1, captured_on=given).captured_on,
        ]
        assert times == [NOON] * len(times)
        assert {time.tzinfo for time in times} == {datetime.UTC}


def test_the_order_of_tags_and_detections_does_not_matter():
    one = data.Detection(tags=[predicted("a", 0.2), predicted("b", 0.3)])
    other = data.Detection(id=one.id, tags=[predicted("b", 0.3), predicted("a", 0.2)])
    assert one == other
    second = data.Detection()
    given = {"name_model": "model", "recording": make_recording(), "created_on": NOON}
    output = data.ModelOutput(**given, detections=[one, second])
    turned = data.ModelOutput(**given, id=output.id, detections=[second, other])
    assert output == turned


def test_a_detection_is_a_presence_unless_it_says_more():
    assert data.Detection().prediction_type == "presence"
    assert data.PresenceDetection().prediction_type == "presence"
    assert data.SequenceDetection().prediction_type == "sequence"
    assert data.EventDetection().prediction_type == "event"
    with pytest.raises(ValidationError):
        data.EventDetection(prediction_type="presence")


@pytest.mark.parametrize(
    "thing",
    [data.Detection(), data.BoundingBox(coordinates=(0, 0, 1, 1)), predicted("a")],
)
def test_results_are_frozen_and_can_be_in_sets(thing):
    name = next(iter(thing.__dict__))
    with pytest.raises((ValidationError, AttributeError)):
        setattr(thing, name, None)
    assert hash(thing) == hash(thing)


@pytest.mark.parametrize(
    "edges", [(1, 0, 1, 10), (2, 0, 1, 10), (0, 10, 1, 10), (0, 20, 1, 10)]
)
def test_a_box_without_extent_is_refused(edges):
    with pytest.raises(ValidationError):
        data.BoundingBox.from_coordinates(*edges)


@pytest.mark.parametrize(
    "fields",
    [{"duration": 0}, {"samplerate": 0}, {"time_expansion": 0}, {"audio_channels": 0}],
)
def test_a_recording_of_nothing_is_refused(fields):
    with pytest.raises(ValidationError):
        data.Recording.model_validate({**make_recording().model_dump(), **fields})


@pytest.mark.parametrize("place", [{"latitude": 91}, {"longitude": -181}])
def test_a_place_off_the_globe_is_refused(place):
    with pytest.raises(ValidationError):
        data.Deployment(name="wood", **place)


def test_responses_have_the_numbers_that_programs_know():
    assert {status.name: status.value for status in data.ResponseStatus} == {
        "SUCCESS": 0,
        "FAILED": 1,
        "ERROR": 2,
        "TIMEOUT": 3,
    }
