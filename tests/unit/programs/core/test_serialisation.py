"""What flows between tasks travels as JSON and arrives equal."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from kombu.utils.json import dumps, loads
from pydantic import BaseModel

from acoupi import data
from acoupi.programs.core import register_type
from acoupi.programs.core.serialisation import register_data_types

DEPLOYMENT = data.Deployment(name="ümlaut", latitude=1.5, longitude=-2)
RECORDING = data.Recording(
    created_on=datetime.datetime(2026, 5, 1, 3, 4, 5, 678901, tzinfo=datetime.UTC),
    duration=3.25,
    samplerate=384_000,
    deployment=DEPLOYMENT,
    path=Path("/tmp/a b.wav"),
    capture=data.CaptureReport(
        gaps=(data.SampleGap(at=3, lost=4),),
        clock=data.ClockState(synchronised=True, boot_id="b", monotonic=1.25),
    ),
)
TAG = data.PredictedTag(data.Tag("species", "Myotis myotis"), 0.25)
BOX = data.BoundingBox.from_coordinates(0.1, 0, 0.2, 24_000)
VALUES = [
    DEPLOYMENT,
    RECORDING,
    data.TimeInterval(start=datetime.time(22), end=datetime.time(6, 30)),
    TAG,
    TAG.tag,
    BOX,
    data.Detection(location=BOX, detection_score=0.5, tags=[TAG]),
    data.EventDetection(location=BOX, tags=[TAG]),
    data.SequenceDetection(),
    data.PresenceDetection(),
    data.ModelOutput(
        name_model="m", recording=RECORDING, detections=[data.Detection(tags=[TAG])]
    ),
    data.Message(content="ä"),
    data.Message(content=b"\xff\x00"),
    data.Response(status=data.ResponseStatus.TIMEOUT, message=data.Message(content="")),
    data.Metric(name="disk", value=1.5, unit="GB"),
    Path("/a/b"),
    datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC),
]


@pytest.fixture(autouse=True)
def registered():
    register_data_types()


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_every_type_of_data_arrives_equal_and_of_its_type(value):
    (arrived,) = loads(dumps([value]))
    assert arrived == value
    assert type(arrived) is type(value)


def test_a_program_registers_its_own_types():
    class Own(BaseModel):
        number: int

    register_type(Own)
    assert loads(dumps({"own": Own(number=3)})) == {"own": Own(number=3)}


def test_an_unknown_type_is_an_error_where_it_is_sent():
    class Unknown(BaseModel):
        number: int = 1

    with pytest.raises(TypeError, match="Unknown"):
        dumps([Unknown()])
