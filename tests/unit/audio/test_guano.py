from __future__ import annotations

import datetime
import time
import uuid
from pathlib import Path

import guano as reference
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoupi import data
from acoupi.audio.guano import Guano

BLANKS = " \t\n\x0b\x0c\r\0"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
KEYS = TEXT.filter(lambda key: not set(key) & set(":\n|"))
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)
TIMES = st.datetimes(
    datetime.datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    datetime.datetime(2200, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    timezones=st.just(datetime.UTC),
)
DEPLOYMENTS = st.builds(
    data.Deployment,
    name=TEXT,
    started_on=TIMES,
    ended_on=st.none() | TIMES,
) | st.builds(
    data.Deployment,
    name=TEXT,
    latitude=st.floats(-90, 90),
    longitude=st.floats(-180, 180),
    started_on=TIMES,
)
CAPTURES = st.builds(
    data.CaptureReport,
    device=st.none() | TEXT,
    first_frame=st.integers(0, 10**15),
    gaps=st.lists(
        st.builds(
            data.SampleGap, at=st.integers(0, 10**9), lost=st.integers(1, 10**12)
        ),
        max_size=5,
    ).map(tuple),
    peak_dbfs=st.none() | FINITE,
    level_dbfs=st.none() | FINITE,
    clipped=st.none() | st.floats(0, 1),
    clock=st.none()
    | st.builds(
        data.ClockState,
        synchronised=st.booleans(),
        boot_id=st.uuids().map(str),
        monotonic=st.floats(0, 1e9),
        corrected=st.booleans(),
    ),
)


@st.composite
def recordings(draw):
    samplerate = draw(st.integers(1, 500_000))
    return data.Recording(
        created_on=draw(TIMES),
        duration=draw(st.integers(1, 10**9)) / samplerate,
        samplerate=samplerate,
        deployment=draw(DEPLOYMENTS),
        path=Path("a.wav"),
        audio_channels=draw(st.integers(1, 32)),
        time_expansion=draw(st.sampled_from([1, 10, 16, 0.5])),
        capture=draw(st.none() | CAPTURES),
    )


@given(recordings())
def test_a_recording_survives_its_metadata(recording):
    written = Guano.for_recording(recording).encode()
    again = Guano.parse(written).to_recording(
        path=recording.path,
        frames=round(recording.duration * recording.samplerate),
        samplerate=recording.samplerate,
        channels=recording.audio_channels,
    )
    assert again == recording


@given(st.dictionaries(KEYS, TEXT, max_size=8))
def test_formatted_metadata_parse_to_themselves(fields):
    metadata = Guano()
    for key, value in fields.items():
        if key.strip(BLANKS):
            metadata[key] = value
    # Within Note the two characters \n mean a line end: the standard has no escape.
    metadata.pop("Note", None)
    assert dict(Guano.parse(metadata.encode())) == dict(metadata)


@given(st.binary(max_size=300))
def test_any_bytes_parse_without_an_error(content):
    metadata = Guano.parse(content)
    assert next(iter(metadata)) == "GUANO|Version"
    assert Guano.parse(metadata.encode()) == metadata


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "Timestamp",
                "TE",
                "Loc Position",
                "Acoupi|Recording ID",
                "Acoupi|Deployment ID",
                "Acoupi|Deployment Name",
                "Acoupi|Deployment Started",
                "Acoupi|First Frame",
                "Acoupi|Gaps",
                "Acoupi|Clipped",
                "Acoupi|Clock Boot ID",
                "Acoupi|Clock Monotonic",
            ]
        ),
        TEXT
        | st.floats().map(str)
        | st.integers().map(str)
        | st.uuids().map(str)
        | st.just('"\\ud800')
        | st.just('"\\ud800"')
        | st.just("9" * 5000)
        | st.just("1+1 2+" + "9" * 5000),
    )
)
def test_metadata_of_any_values_give_a_recording(fields):
    metadata = Guano.parse(
        "".join(f"{key}: {value}\n" for key, value in fields.items())
    )
    recording = metadata.to_recording(path=None, frames=1, samplerate=1, channels=1)
    assert recording.duration == 1


@given(recordings())
def test_the_reference_implementation_reads_the_same(recording):
    metadata = Guano.for_recording(recording)
    theirs = reference.GuanoFile.from_string(metadata.format())
    assert theirs["GUANO|Version"] == "1.0"
    assert theirs["Timestamp"] == recording.created_on
    assert theirs["Samplerate"] == int(metadata["Samplerate"])
    assert theirs["Length"] == float(metadata["Length"])
    assert uuid.UUID(theirs["Acoupi|Recording ID"]) == recording.id
    if "Loc Position" in metadata:
        assert theirs["Loc Position"] == metadata.position


def test_what_the_reference_implementation_writes_is_read():
    theirs = reference.GuanoFile()
    theirs["GUANO|Version"] = "1.0"
    theirs["Timestamp"] = datetime.datetime(2024, 5, 16, 6, 30, tzinfo=datetime.UTC)
    theirs["Loc Position"] = (51.5, -0.25)
    theirs["Note"] = "two\nlines"
    theirs["PET|Gain"] = "80"
    metadata = Guano.parse(theirs.serialize())
    assert metadata.timestamp == theirs["Timestamp"]
    assert metadata.position == (51.5, -0.25)
    assert metadata["Note"] == "two\nlines"
    assert metadata["PET|Gain"] == "80"


def test_length_and_samplerate_are_those_before_time_expansion():
    recording = data.Recording(
        created_on=data.utc_now(),
        duration=10,
        samplerate=44100,
        time_expansion=10,
        deployment=data.Deployment(name="here"),
    )
    metadata = Guano.for_recording(recording)
    assert (metadata["Samplerate"], metadata["Length"]) == ("441000", "1.0")
    assert metadata["TE"] == "10"


def test_the_version_stays_first_and_cannot_be_removed():
    metadata = Guano({"Note": "x", "GUANO|Version": "1.1"})
    assert next(iter(metadata.items())) == ("GUANO|Version", "1.1")
    del metadata["GUANO|Version"]
    assert metadata.format() == "GUANO|Version: 1.0\nNote: x\n"


def test_an_empty_value_means_absent():
    metadata = Guano({"Note": "x"})
    metadata["Note"] = "  "
    assert "Note" not in metadata


@pytest.mark.parametrize("key", ["", " ", "a:b", "a\nb"])
def test_a_key_that_cannot_be_written_is_refused(key):
    with pytest.raises(ValueError, match="cannot be a GUANO key"):
        Guano()[key] = "x"


def test_a_time_without_an_offset_is_utc():
    metadata = Guano.parse("Timestamp: 2024-05-16T06:30:00")
    assert metadata.timestamp == datetime.datetime(
        2024, 5, 16, 6, 30, tzinfo=datetime.UTC
    )


def test_a_naive_time_is_written_as_utc_wherever_the_sensor_is(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        naive = datetime.datetime(2024, 5, 16, 6, 30)  # noqa: DTZ001 - the case at hand
        deployment = data.Deployment(name="wood").model_copy(
            update={"started_on": naive}
        )
        recording = data.Recording(
            created_on=naive, duration=1, samplerate=8000, deployment=deployment
        )
        written = Guano.for_recording(recording)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert written["Timestamp"] == "2024-05-16T06:30:00.000000Z"
    assert written["Acoupi|Deployment Started"] == written["Timestamp"]
