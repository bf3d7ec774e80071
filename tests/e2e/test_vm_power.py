"""Power cuts of a sensor on a virtual machine, at random and at aimed moments.

`powercut` does the same for as many as are wanted.
"""

from __future__ import annotations

import disk_image
import layers
import marathon
import power_aims
import pytest
from power_rig import PowerRig
from powercut import Run

pytestmark = [pytest.mark.vm, pytest.mark.timeout(2400)]

CUTS = 10


@pytest.fixture(scope="module")
def boot():
    reason = disk_image.missing()
    if reason:
        pytest.skip(reason)
    try:
        return disk_image.boot_files()
    except layers.CannotBuildError as error:
        pytest.skip(f"no system to boot: {error}")


def test_nothing_acknowledged_is_lost_in_ten_power_cuts(boot, tmp_path):
    record = marathon.Record(tmp_path / "powercut.jsonl")
    with PowerRig(boot) as rig:
        rig.set_up()
        rig.warm_up()
        run = Run(rig, record, seed=1, boot_every=5)
        for index in range(CUTS):
            run.cycle(index)
        run.finish()
    entries = record.read()
    # Something was at stake.
    assert sum(entry["loss"]["unflushed"] for entry in entries if "aim" in entry) > 0
    assert sum(entry.get("told", 0) for entry in entries) > 0
    assert {entry["aim"] for entry in entries if "aim" in entry} <= {
        *power_aims.AIMS,
        "booting",
    }
    assert [entry["wrong"] for entry in entries if entry["wrong"]] == []
