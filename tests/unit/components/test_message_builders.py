"""What is sent about a model's output."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from acoupi import data
from acoupi.components.message_builders import (
    DetectionThresholdMessageBuilder,
    ModelOutputMessageBuilder,
)
from acoupi.errors import ConfigurationError


def output(*scores, confidence=None):
    recording = data.Recording(
        created_on=datetime.datetime(2026, 6, 1, 5, tzinfo=datetime.UTC),
        duration=3,
        samplerate=48000,
        deployment=data.Deployment(name="pond", latitude=51.5, longitude=-0.1),
        path=Path("/home/somebody/x.wav"),
        capture=data.CaptureReport(device="usb microphone"),
    )
    return data.ModelOutput(
        name_model="ears",
        recording=recording,
        detections=[
            data.Detection(
                detection_score=score,
                location=data.BoundingBox.from_coordinates(0.5, 2000, 0.75, 4000),
                tags=[
                    data.PredictedTag(
                        data.Tag("species", "Myotis myotis"), confidence or score
                    )
                ],
            )
            for score in scores
        ],
    )


def test_detections_that_reach_the_threshold_are_sent():
    built = DetectionThresholdMessageBuilder(detection_threshold=0.6).build_message(
        output(0.59, 0.6, 0.9)
    )
    content = json.loads(built.content)
    scores = [detection["detection_score"] for detection in content["detections"]]
    assert sorted(scores) == [0.6, 0.9]


def test_nothing_is_sent_when_none_reaches_the_threshold():
    builder = DetectionThresholdMessageBuilder(detection_threshold=0.6)
    assert builder.build_message(output(0.1, 0.5)) is None
    assert builder.build_message(output()) is None


def test_a_detection_is_sent_with_all_its_tags():
    built = DetectionThresholdMessageBuilder(0.6).build_message(
        output(0.9, confidence=0.1)
    )
    (detection,) = json.loads(built.content)["detections"]
    assert detection["tags"] == [
        {
            "tag": {"key": "species", "value": "Myotis myotis"},
            "confidence_score": 0.1,
        }
    ]


@pytest.mark.parametrize(
    "builder", [DetectionThresholdMessageBuilder(0.5), ModelOutputMessageBuilder()]
)
def test_the_content_is_the_documented_json(builder):
    model_output = output(0.9)
    content = json.loads(builder.build_message(model_output).content)
    deployment = model_output.recording.deployment
    (detection,) = model_output.detections
    assert content == {
        "name_model": "ears",
        "recording": {
            "id": str(model_output.recording.id),
            "created_on": "2026-06-01T05:00:00Z",
            "duration": 3.0,
            "samplerate": 48000,
            "audio_channels": 1,
            "time_expansion": 1.0,
            "deployment": {
                "id": str(deployment.id),
                "name": "pond",
                "latitude": 51.5,
                "longitude": -0.1,
                "started_on": deployment.started_on.isoformat().replace("+00:00", "Z"),
                "ended_on": None,
            },
        },
        "detections": [
            {
                "id": str(detection.id),
                "location": {
                    "type": "BoundingBox",
                    "coordinates": [0.5, 2000.0, 0.75, 4000.0],
                },
                "detection_score": 0.9,
                "tags": [
                    {
                        "tag": {"key": "species", "value": "Myotis myotis"},
                        "confidence_score": 0.9,
                    }
                ],
                "prediction_type": "presence",
            }
        ],
    }


def test_paths_and_devices_of_the_sensor_are_not_sent():
    for builder in (DetectionThresholdMessageBuilder(0.5), ModelOutputMessageBuilder()):
        content = builder.build_message(output(0.9)).content
        assert "somebody" not in content
        assert "microphone" not in content


def test_the_same_output_gives_the_same_message_id_and_others_other_ones():
    one, two = output(0.9), output(0.9)
    builders = [DetectionThresholdMessageBuilder(0.5), ModelOutputMessageBuilder()]
    ids = [b.build_message(o).id for o in (one, two) for b in builders]
    assert len(set(ids)) == 4
    assert [b.build_message(o).id for o in (one, two) for b in builders] == ids
    again = one.model_copy(update={"created_on": data.utc_now()})
    assert builders[0].build_message(again).id == ids[0]


def test_empty_outputs_are_sent_only_on_request():
    assert ModelOutputMessageBuilder().build_message(output()) is None
    built = ModelOutputMessageBuilder(send_empty=True).build_message(output())
    assert json.loads(built.content)["detections"] == []


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_impossible_thresholds_are_refused(threshold):
    with pytest.raises(ConfigurationError, match="detection_threshold is"):
        DetectionThresholdMessageBuilder(detection_threshold=threshold)
