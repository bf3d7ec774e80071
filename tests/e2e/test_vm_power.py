"""Power cuts of a sensor, at random and at aimed moments.

`powercut` does the same for as many as are wanted.
"""

from __future__ import annotations

import container_rig
import marathon
import pytest
from container_rig import ContainerRig
from powercut import Run
from receivers import RECEIVERS
from virtual_rig import VirtualRig

pytestmark = [pytest.mark.vm, pytest.mark.timeout(2400)]

CUTS = 10


@pytest.fixture(params=["container", "virtual machine"])
def rig(request):
    """A sensor whose power can be cut."""
    if request.param == "container":
        reason = container_rig.missing()
        if reason:
            pytest.skip(reason)
        system = request.getfixturevalue("system")
        made = ContainerRig(system, receivers=list(RECEIVERS))
    else:
        made = VirtualRig(
            request.getfixturevalue("boot_files"), receivers=list(RECEIVERS)
        )
    with made as entered:
        yield entered


def test_nothing_acknowledged_is_lost_in_ten_power_cuts(rig, tmp_path):
    record = marathon.Record(tmp_path / "powercut.jsonl")
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
    assert [entry["wrong"] for entry in entries if entry["wrong"]] == []
