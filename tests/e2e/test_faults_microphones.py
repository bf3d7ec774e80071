"""Microphones and sound servers that fail, under a real systemd."""

from __future__ import annotations

import copy

import microphones
import pytest
import sound
from installation import CONFIG, install_sensor

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def talkative_sensor(booted, chirps):
    """A sensor that tells how it is every two seconds."""
    config = copy.deepcopy(CONFIG)
    config["messaging"]["heartbeat_interval"] = 2
    return install_sensor(booted, chirps, config=config)


def test_what_is_wrong_with_a_microphone_is_named_and_nothing_else(
    talkative_sensor, chirps, tmp_path, record_property
):
    sensor = talkative_sensor
    taken = microphones.comes_back_to_the_sound_server(sensor, "microphone.service")
    record_property("seconds until heard again", taken)
    microphones.raises_no_false_alarm(sensor)
    sounds = {}
    for kind, word in microphones.PROBLEMS.items():
        sounds[word] = str(tmp_path / f"{kind}.wav")
        # Longer than levels are measured: between two playings there is silence.
        sound.write_defect(sounds[word], kind, seconds=40)
    microphones.names_defects(sensor, sounds, chirps)
