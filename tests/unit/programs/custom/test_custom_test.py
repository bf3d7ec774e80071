"""The program that checks an installation says of each step whether it works."""

from __future__ import annotations

import pytest
from celery import Celery

from acoupi.programs.custom.test import (
    STEPS,
    TestConfiguration,
    TestProgram,
    read_findings,
)
from acoupi.system import load_program
from acoupi.testing import make_recording


@pytest.fixture
def program(tmp_path):
    app = Celery("test", set_as_current=False)
    app.conf.update(
        task_always_eager=True,
        broker_url="memory://",
        acoupi_run_dir=str(tmp_path / "run"),
    )
    config = TestConfiguration.model_validate(
        {
            "microphone": {"source": "signal"},
            "paths": {
                "tmp_audio": tmp_path / "tmp",
                "recordings": tmp_path / "recordings",
                "db_metadata": tmp_path / "test.db",
            },
        }
    )
    return TestProgram(program_config=config, app=app)


def findings(tmp_path):
    return {f.step: (f.works, f.runs) for f in read_findings(tmp_path / "run")}


def test_everything_has_a_default():
    assert load_program("acoupi.programs.custom.test") is TestProgram
    assert TestConfiguration().microphone.source == "microphone"


def test_before_a_run_nothing_works(tmp_path):
    assert findings(tmp_path) == dict.fromkeys(STEPS, (False, 0))
    assert not any(finding.works for finding in read_findings(None))


def test_what_ran_works(tmp_path, program):
    program.tasks["report_task"]()
    program.tasks["file_management_task"]()
    program.tasks["file_management_task"]()
    assert findings(tmp_path) == {
        "scheduler": (True, 1),
        "keeping": (True, 2),
        "recording": (False, 0),
        "detection": (False, 0),
    }


def test_what_raised_does_not_work_and_says_why(tmp_path, program):
    program.recorder.harvest = lambda: iter([make_recording()])

    def fail(recording):
        raise OSError("disk full")

    program.store.store_recording = fail
    with pytest.raises(OSError, match="disk full"):
        program.tasks["recording_task"]()
    finding = next(f for f in read_findings(tmp_path / "run") if f.step == "recording")
    assert (finding.works, finding.detail) == (False, "OSError: disk full")


def test_a_new_start_forgets_what_was_found_before(tmp_path, program):
    program.tasks["report_task"]()
    program.tasks["file_management_task"]()
    program.worker_started(["detection"])
    assert findings(tmp_path)["scheduler"] == (True, 1)
    program.worker_started(["celery"])
    assert findings(tmp_path)["scheduler"] == (False, 0)
    # Keeping is tried at once.
    assert findings(tmp_path)["keeping"][0]
