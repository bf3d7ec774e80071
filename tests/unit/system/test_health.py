"""Seen from outside: what the sensor does, without its program and without traces."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from acoupi import data
from acoupi.components import SqliteStore
from acoupi.components.health import read_recorder_status
from acoupi.system import CeleryConfig, Settings, check, setup_program, status
from acoupi.system import liveness as liveness_module
from acoupi.system.configuration import NotSetUpError
from acoupi.system.health import is_recording
from acoupi.system.troubles import TroubleLog


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(liveness_module, "_managers", list)
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path / "home"))
    settings = Settings(tmp_path / "home")
    setup_program(
        settings,
        "acoupi.programs.connected",
        {
            "microphone": {"source": "signal"},
            "paths": {"tmp_audio": str(tmp_path / "tmp")},
        },
    )
    return settings


def store_of(settings: Settings) -> SqliteStore:
    config = json.loads(settings.program_file.read_text())
    path = Path(config["paths"]["db_metadata"])
    path.parent.mkdir(parents=True, exist_ok=True)
    return SqliteStore(path)


def write_recorder_status(settings: Settings, **more: object) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    text = {
        "recording": True,
        "problems": [],
        "boot_id": boot,
        "updated_monotonic": time.monotonic(),
        **more,
    }
    (settings.run_dir / "recorder.json").write_text(json.dumps(text))


def tree(directory: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_home_without_setup_says_how_to_make_one(tmp_path):
    with pytest.raises(NotSetUpError, match="acoupi setup"):
        status(Settings(tmp_path))


def test_a_sensor_that_does_nothing_yet_has_a_status(settings):
    found = status(settings)
    assert found["program"] == "acoupi.programs.connected"
    assert found["running"] is False
    assert found["recorder"] is None
    assert found["store"] is None
    assert not is_recording(found)
    json.dumps(found)


def test_status_counts_what_the_store_holds(settings):
    store = store_of(settings)
    deployment = store.get_current_deployment()
    moment = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
    for number in range(3):
        recording = data.Recording(
            created_on=moment + datetime.timedelta(seconds=number),
            duration=1,
            samplerate=8000,
            deployment=deployment,
            path=Path(f"/x/{number}.wav"),
        )
        store.store_recording(recording)
        if number == 1:
            output = data.ModelOutput(
                name_model="m", recording=recording, detections=[data.Detection()]
            )
            store.store_model_output(output)
    store.add_loss("samples", 5, "test")
    found = status(settings)["store"]
    assert found["recordings"] == 3
    assert found["undecided"] == 3
    assert found["detections"] == 1
    assert found["losses"] == {"samples": 5}
    assert found["last_recording_on"].startswith("2024-05-01T12:00:02")
    assert found["last_detection_on"].startswith("2024-05-01T12:00:01")


def test_status_changes_no_file(settings):
    store = store_of(settings)
    store.get_current_deployment()
    store.database.close()
    before = tree(settings.home)
    status(settings)
    assert tree(settings.home) == before


def test_status_reads_while_the_sensor_writes(settings):
    store = store_of(settings)
    with store.transaction():
        store.get_current_deployment()
        begun = time.monotonic()
        assert status(settings)["store"]["recordings"] == 0
        assert time.monotonic() - begun < 3


def test_a_damaged_database_is_a_problem_not_a_crash(settings):
    store = store_of(settings)
    path = store.database.path
    store.database.close()
    path.write_bytes(b"not a database" * 1000)
    found = status(settings)
    assert found["store"] is None
    assert any("database" in problem for problem in found["problems"])


def test_a_damaged_configuration_is_a_problem_not_a_crash(settings):
    settings.program_file.write_text("{")
    assert any("program.json" in problem for problem in status(settings)["problems"])


def test_the_recorders_own_report_is_shown_with_its_problems(settings, monkeypatch):
    write_recorder_status(settings, problems=["silence"])
    alive = liveness_module.Liveness(
        "scripts", (liveness_module.ProcessState("beat", "running", 1),)
    )
    monkeypatch.setattr("acoupi.system.health.observe_processes", lambda _: alive)
    found = status(settings)
    assert is_recording(found)
    assert "microphone: silence" in found["problems"]


def test_an_old_report_does_not_count_as_recording(settings, monkeypatch):
    write_recorder_status(settings, updated_monotonic=time.monotonic() - 3600)
    assert read_recorder_status(settings.run_dir / "recorder.json") is not None
    alive = liveness_module.Liveness(
        "scripts", (liveness_module.ProcessState("beat", "failed"),) * 1
    )
    monkeypatch.setattr("acoupi.system.health.observe_processes", lambda _: alive)
    found = status(settings)
    assert not is_recording(found)
    assert any("beat has failed" in problem for problem in found["problems"])


@pytest.mark.parametrize(
    ("process", "said"),
    [
        (("failed", None, 4, 2.0), "worker-x has failed"),
        (("starting", 1, 0, 90.0), "worker-x has been starting for 90 s"),
        (("stopping", 1, 0, 90.0), "worker-x has been stopping for 90 s"),
        (("running", 1, 1, 20.0), "worker-x ended and was started again, once so far"),
        (("running", 1, 7, 20.0), "started again, 7 times so far, 20 s ago"),
        (("starting", 1, 0, 2.0), None),
        (("running", 1, 0, 20.0), None),
        (("running", 1, 7, 86400.0), None),
        (("running", 1, None, None), None),
    ],
)
def test_a_process_that_does_not_stay_is_named(settings, monkeypatch, process, said):
    state = liveness_module.ProcessState("worker-x", *process)
    alive = liveness_module.Liveness("systemd", (state,))
    monkeypatch.setattr("acoupi.system.health.observe_processes", lambda _: alive)
    named = [text for text in status(settings)["problems"] if "worker-x" in text]
    assert len(named) == (said is not None)
    assert said is None or said in named[0]


def test_what_a_process_logged_as_an_error_is_a_problem(settings):
    log = TroubleLog.of_role(settings.run_dir, "worker-detection")
    log.note("the model failed", RuntimeError("no weights"))
    found = status(settings)
    (trouble,) = found["troubles"]
    assert trouble["role"] == "worker-detection"
    assert any(
        text.startswith("worker-detection, 0 s ago")
        and "the model failed: RuntimeError: no weights" in text
        for text in found["problems"]
    )


@pytest.mark.parametrize(
    ("report", "recording"),
    [
        ({"recording": True}, True),
        ({"recording": False, "capturing": True}, True),
        ({"recording": False, "capturing": True, "waiting_on_purpose": True}, False),
        ({"recording": False, "capturing": False}, False),
    ],
)
def test_between_two_recordings_the_sensor_records_too(settings, report, recording):
    write_recorder_status(settings, **report)
    assert is_recording(status(settings)) is recording


def test_messages_are_counted_by_destination(settings):
    store = store_of(settings)
    store.get_current_deployment()
    path = store.database.path
    store.database.close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO message (id, content, created_on) VALUES ('1', 'x', '2024')"
        )
        connection.execute(
            "INSERT INTO delivery (message, destination, state) "
            "VALUES (1, 'mqtt', 'parked')"
        )
    connection.close()
    found = status(settings)
    assert found["messages"]["mqtt"]["parked"] == 1
    assert any("mqtt were set aside" in problem for problem in found["problems"])


def test_status_is_quick_and_loads_neither_celery_nor_numpy(settings):
    code = (
        "import sys\n"
        "from acoupi.system import Settings, status\n"
        "status(Settings())\n"
        "heavy = {'celery', 'kombu', 'numpy', 'jinja2', 'httpx', 'rich', 'psutil'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    before = os.times()
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"ACOUPI_HOME": str(settings.home)},
    )
    assert run.stdout.strip() == "[]"
    # A second is promised; the machine of the tests may be busy with others' work.
    after = os.times()
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 2


def checks(settings: Settings) -> dict[str, tuple[str, str]]:
    return {found.name: (found.state, found.message) for found in check(settings)}


def test_a_sensor_that_can_work_passes_every_check(settings):
    found = checks(settings)
    assert {name: state for name, (state, _) in found.items()} == dict.fromkeys(
        ["configuration", "celery", "files", "broker", "program", "parts"], "ok"
    ), found


def test_a_home_without_setup_fails_without_a_crash(tmp_path):
    found = checks(Settings(tmp_path / "none"))
    assert found["configuration"][0] == "failed"
    assert "acoupi setup" in found["configuration"][1]
    assert found["program"][0] == "skipped"


def test_a_broker_that_does_not_answer_is_named_without_its_password(settings):
    celery = CeleryConfig(broker_url="redis://me:hunter2@127.0.0.1:1/0")
    setup_program(
        settings,
        "acoupi.programs.connected",
        json.loads(settings.program_file.read_text()),
        celery,
    )
    state, message = checks(settings)["broker"]
    assert state == "failed"
    assert "127.0.0.1:1" in message
    assert "hunter2" not in message
    assert "broker_url" in message


@pytest.mark.parametrize(
    ("break_it", "part", "said"),
    [
        (lambda s: s.start_script.unlink(), "files", "acoupi setup"),
        (lambda s: s.beat_script.chmod(0o644), "files", "not executable"),
        (lambda s: s.program_file.chmod(0o644), "files", "chmod 600"),
        (lambda s: s.run_dir.rmdir(), "files", "not writable"),
        (lambda s: s.celery_file.write_text("{"), "celery", "celery.json"),
        (lambda s: s.program_file.write_text("{}"), "configuration", "microphone"),
        (lambda s: s.name_file.write_text("gone"), "configuration", "gone"),
    ],
)
def test_each_fault_is_found_in_its_part_with_the_remedy(
    settings, break_it, part, said
):
    break_it(settings)
    state, message = checks(settings)[part]
    assert state == "failed"
    assert said in message


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.abort()", "crashed (signal 6)"),
        ("import os; os._exit(3)", "ended with code 3"),
    ],
)
def test_a_check_that_ends_the_process_is_a_failed_check(
    settings, tmp_path, monkeypatch, code, said
):
    (tmp_path / "ending.py").write_text(
        "from acoupi.programs.templates import (\n"
        "    MessagingProgram, MessagingProgramConfiguration)\n"
        "class Ending(MessagingProgram[MessagingProgramConfiguration]):\n"
        "    config_schema = MessagingProgramConfiguration\n"
        "    def check(self, config):\n"
        "        print('about to end')\n"
        f"        {code}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings.name_file.write_text("ending\n")
    found = checks(settings)
    assert found["program"][0] == "ok"
    assert found["parts"][0] == "failed"
    assert said in found["parts"][1]


def test_a_microphone_that_the_sensor_records_from_is_not_opened_again(settings):
    config = json.loads(settings.program_file.read_text())
    config["microphone"] |= {"source": "microphone", "device_name": "no such thing"}
    settings.program_file.write_text(json.dumps(config))
    state, message = checks(settings)["parts"]
    assert state == "failed"
    assert "no such thing" in message
    write_recorder_status(settings, capturing=True)
    assert checks(settings)["parts"] == ("ok", "")


@pytest.mark.parametrize(("reserve", "free"), [(0, 400), (500, 300), (100_000, 499)])
def test_a_disk_that_is_nearly_full_is_a_problem(settings, monkeypatch, reserve, free):
    usage = shutil._ntuple_diskusage(32e9, 31e9, free * 1e6)
    monkeypatch.setattr("acoupi.system.health.shutil.disk_usage", lambda _: usage)
    set_reserve(settings, reserve)
    assert any(f"only {free} MB" in problem for problem in status(settings)["problems"])


def test_a_disk_that_retention_keeps_near_its_reserve_is_no_problem(
    settings, monkeypatch
):
    usage = shutil._ntuple_diskusage(32e9, 31e9, 480e6)
    monkeypatch.setattr("acoupi.system.health.shutil.disk_usage", lambda _: usage)
    set_reserve(settings, 500)
    assert status(settings)["problems"] == []


@pytest.fixture
def small_disk(settings, tmp_path):
    """A disk of 1000 files for the recordings; its mount is undone."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=1000", "none", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount here")
    config = json.loads(settings.program_file.read_text())
    config["paths"]["recordings"] = str(disk / "recordings")
    config["retention"]["min_free_space"] = 10
    settings.program_file.write_text(json.dumps(config))
    try:
        assert status(settings)["problems"] == []
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_only_disk_is_a_problem(settings, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert any("read-only" in problem for problem in status(settings)["problems"])


def test_a_disk_without_inodes_is_a_problem(settings, small_disk):
    for number in range(950):
        (small_disk / str(number)).touch()
    assert any("inodes" in problem for problem in status(settings)["problems"])


def set_reserve(settings, megabytes):
    config = json.loads(settings.program_file.read_text())
    config["retention"]["min_free_space"] = megabytes
    settings.program_file.write_text(json.dumps(config))


def test_the_days_left_end_where_retention_begins_to_delete(settings, monkeypatch):
    usage = shutil._ntuple_diskusage(32e9, 30e9, 2e9)
    monkeypatch.setattr("acoupi.system.health.shutil.disk_usage", lambda _: usage)
    monkeypatch.setattr(
        "acoupi.system.health.read_recordings",
        lambda _: {"kept_bytes_per_day": 100_000_000, "undecided": 0},
    )
    set_reserve(settings, 500)
    assert status(settings)["disk"]["days_left"] == 15
    set_reserve(settings, 0)
    assert status(settings)["disk"]["days_left"] == 20
