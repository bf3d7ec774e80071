"""What the doctor says of a sensor under a real systemd."""

from __future__ import annotations

import diagnoses
import pytest

pytestmark = pytest.mark.timeout(900)


def test_each_fault_that_is_done_to_a_sensor_is_named(sensor):
    assert len(diagnoses.names_each_fault(sensor)) == len(diagnoses.faults_of(sensor))
    diagnoses.changes_nothing(sensor)
    diagnoses.says_who_may_ask(sensor)
