"""The configuration of the templates: binding names and defaults, clear refusals."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from acoupi.programs.templates import (
    AudioConfiguration,
    BasicProgramConfiguration,
    DetectionProgramConfiguration,
    MessagingConfig,
    MessagingProgramConfiguration,
)


def test_names_and_defaults_are_the_published_ones(monkeypatch, tmp_path):
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path))
    config = DetectionProgramConfiguration(microphone={})
    assert config.timezone == "Europe/London"
    microphone = config.microphone
    assert (microphone.samplerate, microphone.audio_channels) == (48_000, 1)
    assert microphone.time_expansion == 1
    assert config.recording.model_dump() == {
        "duration": 3,
        "interval": 10,
        "chunksize": 8192,
        "schedule_start": datetime.time(6, 0),
        "schedule_end": datetime.time(22, 30),
    }
    assert set(type(config.paths).model_fields) == {
        "tmp_audio",
        "recordings",
        "db_metadata",
    }
    assert config.messaging.model_dump(exclude={"messages_db"}) == {
        "message_send_interval": 120,
        "max_messages": None,
        "message_order": "oldest_first",
        "heartbeat_interval": 3600,
        "http": None,
        "mqtt": None,
    }
    assert config.detections.threshold == 0.2


def test_the_microphone_is_required():
    with pytest.raises(ValidationError, match="microphone"):
        BasicProgramConfiguration()


def test_destinations_have_the_published_defaults():
    messaging = MessagingConfig(
        http={"base_url": "http://x.org"}, mqtt={"host": "x.org"}
    )
    assert (messaging.http.content_type, messaging.http.timeout) == (
        "application/json",
        5,
    )
    mqtt = messaging.mqtt
    assert (mqtt.username, mqtt.password, mqtt.topic) == (None, None, "acoupi")
    assert (mqtt.port, mqtt.timeout) == (1884, 5)
    assert (mqtt.use_tls, mqtt.transport) == (False, "tcp")


def test_data_is_kept_below_the_home_and_undecided_audio_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path / "a"))
    first = MessagingProgramConfiguration(microphone={})
    assert first.paths.recordings == tmp_path / "a" / "data" / "recordings"
    assert first.paths.db_metadata == first.messaging.messages_db
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path / "b"))
    second = MessagingProgramConfiguration(microphone={})
    assert first.paths.tmp_audio != second.paths.tmp_audio
    monkeypatch.delenv("ACOUPI_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    third = MessagingProgramConfiguration(microphone={})
    assert third.paths.db_metadata == tmp_path / ".acoupi" / "data" / "acoupi.db"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("duration", 0),
        ("duration", -1),
        ("duration", 1e9),
        ("interval", -1),
        ("chunksize", 0),
        ("schedule_start", "25:00"),
    ],
)
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        AudioConfiguration.model_validate({field: value})


@pytest.mark.parametrize("zone", ["Europe/Lundon", "", "../etc/passwd", "/etc", "+1"])
def test_an_unknown_timezone_is_refused_with_an_example(zone):
    with pytest.raises(ValidationError, match="IANA name such as Europe/London"):
        BasicProgramConfiguration(microphone={}, timezone=zone)


def test_every_field_says_what_it_is():
    def check(schema: type[BaseModel], where: str) -> None:
        for name, field in schema.model_fields.items():
            assert field.description, f"{where}.{name}"
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                check(kind, f"{where}.{name}")

    check(DetectionProgramConfiguration, "config")


def test_a_configuration_survives_being_written_and_read():
    config = DetectionProgramConfiguration(
        microphone={"source": "signal"},
        messaging={"mqtt": {"host": "x.org"}},
        paths={"tmp_audio": Path("/a")},
    )
    text = config.model_dump_json()
    assert DetectionProgramConfiguration.model_validate_json(text) == config
