"""What the report on the card knows of the machine."""

from __future__ import annotations

import json
import time

import pytest

from acoupi.audio.wallclock import read_boot_id
from acoupi.system import Settings
from acoupi.system.provisioning.machine import observe


@pytest.mark.parametrize("waits", [False, True])
def test_between_two_recordings_it_counts_as_recording_unless_it_waits(tmp_path, waits):
    settings = Settings(home=tmp_path)
    settings.run_dir.mkdir()
    report = {
        "boot_id": read_boot_id(),
        "updated_monotonic": time.monotonic(),
        "recording": False,
        "capturing": True,
        "waiting_on_purpose": waits,
    }
    (settings.run_dir / "recorder.json").write_text(json.dumps(report))

    assert observe(settings).recording is not waits
