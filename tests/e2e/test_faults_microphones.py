"""Microphones and sound servers that fail, under a real systemd."""

from __future__ import annotations

import copy

import microphones
import numpy as np
import pytest
import sound
import soundfile
from installation import CONFIG, PLAY, install_sensor

pytestmark = pytest.mark.timeout(600)


CHANNELS = len(microphones.PROBLEMS)


@pytest.fixture
def sounds(chirps, tmp_path):
    """Chirps in each channel, and a defect in each."""
    heard, rate = soundfile.read(chirps, dtype="int16")
    defects = []
    for kind in microphones.PROBLEMS:
        path = str(tmp_path / f"{kind}.wav")
        sound.write_defect(path, kind, seconds=1)
        defects.append(soundfile.read(path, dtype="int16")[0])
    contents = {
        "chirps": np.column_stack([heard] * CHANNELS),
        # Longer than levels are measured: between two playings there is silence.
        "defects": np.tile(np.column_stack(defects), (40, 1)),
    }
    for name, content in contents.items():
        soundfile.write(tmp_path / f"{name}.wav", content, rate)
    return {name: str(tmp_path / f"{name}.wav") for name in contents}


@pytest.fixture
def sensor(booted, sounds):
    """A sensor with several microphones that tells how it is every two seconds."""
    places = "front-left,front-right,rear-left,rear-right"
    booted.succeed(
        f"sed --in-place 's/channels=1/channels={CHANNELS} channel_map={places}/'"
        " /etc/systemd/system/microphone.service",
        "systemctl daemon-reload",
        "systemctl restart microphone.service",
    )
    config = copy.deepcopy(CONFIG)
    config["messaging"]["heartbeat_interval"] = 2
    config["microphone"]["audio_channels"] = CHANNELS
    return install_sensor(
        booted, sounds["chirps"], config=config, play=f"{PLAY} --no-remap"
    )


def test_what_is_wrong_with_a_microphone_is_named_and_nothing_else(
    sensor, sounds, record_property
):
    taken = microphones.comes_back_to_the_sound_server(sensor, "microphone.service")
    record_property("seconds until heard again", taken)
    microphones.raises_no_false_alarm(sensor)
    defects = dict.fromkeys(microphones.PROBLEMS.values(), sounds["defects"])
    microphones.names_defects(sensor, defects, sounds["chirps"])
