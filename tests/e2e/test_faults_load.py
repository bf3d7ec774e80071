"""Machines with too much to do, under a real systemd."""

from __future__ import annotations

import exactness
import pytest
import sound
from installation import DEFAULT, config_of, install_sensor

pytestmark = pytest.mark.timeout(600)

COUNTER = "/run/counter.raw"

DEVICE = (
    'pcm.counter {{ type file slave.pcm "microphone" file "/dev/null" '
    'infile "{}" format "raw" }}\n'
)
"""In place of what the microphone hears: samples that count, in real time."""


@pytest.mark.parametrize("samplerate", [48_000, 192_000, 384_000])
def test_no_sample_is_lost_while_both_processors_are_busy(
    booted, chirps, tmp_path, samplerate, record_property
):
    counter = tmp_path / "counter.raw"
    sound.write_counter(str(counter), 60, samplerate)
    booted.copy_from_host(str(counter), COUNTER)
    (tmp_path / "device").write_text(DEVICE.format(COUNTER))
    booted.copy_from_host(str(tmp_path / "device"), "/run/device")
    booted.succeed(
        "cat /run/device >>/etc/asound.conf",
        f"sed --in-place s/rate=48000/rate={samplerate}/"
        " /etc/systemd/system/microphone.service",
        "systemctl daemon-reload",
        "systemctl restart microphone.service",
    )
    config = config_of(DEFAULT)
    config["microphone"] = {"device_name": "counter", "samplerate": samplerate}
    sensor = install_sensor(booted, chirps, program=DEFAULT, config=config)
    found = exactness.records_every_sample(sensor, 10, processes=2)
    record_property("samples", found)
    exactness.is_whole(found, 10 * samplerate)
