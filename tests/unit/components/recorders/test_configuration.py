from __future__ import annotations

import pytest
from pydantic import ValidationError

from acoupi.audio.microphone import MicrophoneSource, smallest_block
from acoupi.audio.scene import SignalSource
from acoupi.audio.sources import FileSource
from acoupi.audio.wav import SoundFormat
from acoupi.components.recorders import MicrophoneConfig


def test_the_published_fields_have_their_published_defaults():
    config = MicrophoneConfig(device_name="UltraMic")
    assert config.device_name == "UltraMic"
    assert config.samplerate == 48_000
    assert config.audio_channels == 1
    assert config.time_expansion == 1


def test_every_field_explains_itself():
    for name, field in MicrophoneConfig.model_fields.items():
        assert field.description, name


def test_a_microphone_is_asked_for_the_configured_format():
    config = MicrophoneConfig(
        device_name="x", samplerate=384_000, audio_channels=2, bit_depth=24
    )
    source = config.build_source(chunksize=1024)
    assert isinstance(source, MicrophoneSource)
    assert source.format == SoundFormat(384_000, 2, 3)
    assert source.name == "x"
    assert source.block == 16_384
    assert source.latency >= 0.5


@pytest.mark.parametrize(
    ("rate", "block"), [(8000, 4096), (48_000, 4096), (96_000, 4096), (384_000, 16_384)]
)
def test_blocks_are_large_enough_for_the_rate(rate, block):
    assert smallest_block(rate) == block


def test_a_signal_stands_for_a_microphone():
    source = MicrophoneConfig(source="signal", audio_channels=2).build_source()
    assert isinstance(source, SignalSource)
    assert source.format == SoundFormat(48_000, 2, 2)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_sound_files_stand_for_a_microphone(kind, tmp_path):
    config = MicrophoneConfig(source=kind, source_path=tmp_path, source_loop=False)
    source = config.build_source()
    assert isinstance(source, FileSource)
    assert source.path == tmp_path
    assert not source.loop


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"source": "file"}, "source_path is missing"),
        ({"source": "folder"}, "source_path is missing"),
        ({"source": "radio"}, "source"),
        ({"samplerate": 0}, "samplerate"),
        ({"audio_channels": 0}, "audio_channels"),
        ({"time_expansion": 0}, "time_expansion"),
        ({"bit_depth": 20}, "bit_depth"),
        ({"device_name": ""}, "device_name"),
        ({"devise_name": "x"}, "devise_name"),
    ],
)
def test_a_mistake_is_refused_by_name(fields, told):
    with pytest.raises(ValidationError, match=told):
        MicrophoneConfig(**fields)
