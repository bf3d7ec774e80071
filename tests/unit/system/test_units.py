"""Each process is a confined service; systemd itself accepts and grades the units."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from acoupi.errors import ConfigurationError
from acoupi.programs import AcoupiWorker
from acoupi.system import Settings
from acoupi.system.rendering import render_home
from acoupi.system.units import UnitScope, render_units, writable_paths

WORKERS = [
    AcoupiWorker(name="recording", queues=["recording"], concurrency=1),
    AcoupiWorker(name="detection", queues=["detection"], concurrency=1),
    AcoupiWorker(name="default", queues=["celery"], concurrency=1),
]
ALONE = [AcoupiWorker(name="acoupi")]
REMOTE = "rediss://broker.example:6380/0"
LOCAL = "redis+socket:///run/redis-acoupi/redis.sock"

NETWORK_BOUND = 1.5
RECORDER_BOUND = 0.6


@pytest.fixture
def settings(tmp_path):
    settings = Settings(tmp_path / "home")
    files = render_home(
        settings, ["recording"], python=Path("/usr/bin/python3"), embedded_broker=True
    )
    for name, text in files.items():
        path = settings.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return settings


def units_of(settings, *, system=True, workers=WORKERS, broker_url=None, **more):
    return render_units(
        settings,
        "acoupi.programs.default",
        workers,
        UnitScope(system, "daemon"),
        broker_url=broker_url,
        **more,
    )


@pytest.fixture(autouse=True)
def _runtime_dir(tmp_path_factory, monkeypatch):
    # Verifying a user's units asks for it.
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(
        ["systemd-analyze", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def write(directory: Path, units: dict[str, str]) -> list[str]:
    directory.mkdir()
    for name, text in units.items():
        (directory / name).write_text(text)
    return [str(directory / name) for name in units]


def exposure(file: str) -> float:
    run = analyze("security", "--offline=true", "--no-pager", file)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", run.stdout)
    assert found, run.stdout + run.stderr
    return float(found.group(1))


@pytest.mark.parametrize("system", [True, False], ids=["system", "user"])
@pytest.mark.parametrize("broker_url", [None, LOCAL, REMOTE])
@pytest.mark.parametrize("workers", [WORKERS, ALONE], ids=["three", "one"])
def test_systemd_finds_nothing_to_say_about_the_units(
    settings, tmp_path, system, broker_url, workers
):
    units = units_of(settings, system=system, broker_url=broker_url, workers=workers)
    files = write(tmp_path / "units", units)
    run = analyze("verify", *([] if system else ["--user"]), *files)
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "")


def test_systemd_would_find_a_mistake(settings, tmp_path):
    units = units_of(settings)
    broken = units["acoupi-beat.service"].replace("WatchdogSec", "WatchdogSecs")
    files = write(tmp_path / "units", units | {"acoupi-beat.service": broken})
    assert "WatchdogSecs" in analyze("verify", *files).stderr


@pytest.mark.parametrize("broker_url", [None, LOCAL, REMOTE])
@pytest.mark.parametrize("workers", [WORKERS, ALONE], ids=["three", "one"])
@pytest.mark.parametrize("home", ["/var/lib/acoupi", "/home/pi/.acoupi"])
def test_system_services_are_confined_within_the_bounds(
    tmp_path, broker_url, workers, home
):
    units = units_of(
        Settings(home),
        broker_url=broker_url,
        workers=workers,
        writable=[Path("/srv/recordings")],
    )
    for file in write(tmp_path / "units", units):
        if file.endswith(".target"):
            continue
        without_network = "PrivateNetwork=yes" in Path(file).read_text()
        bound = RECORDER_BOUND if without_network else NETWORK_BOUND
        assert exposure(file) <= bound, file
    recorder = units.get("acoupi-worker-recording.service", "")
    if recorder and broker_url != REMOTE:
        assert "PrivateNetwork=yes" in recorder


def test_the_target_wants_one_service_per_process(settings):
    units = units_of(settings)
    assert set(units) == {
        "acoupi.target",
        "acoupi-beat.service",
        "acoupi-broker.service",
        "acoupi-worker-default.service",
        "acoupi-worker-detection.service",
        "acoupi-worker-recording.service",
    }
    for name in set(units) - {"acoupi.target"}:
        assert f"Wants={name}\n" in units["acoupi.target"]
        assert "PartOf=acoupi.target" in units[name]
        assert "Restart=always" in units[name]
        assert "StartLimitIntervalSec=0" in units[name]
        assert "LimitCORE=0" in units[name]


def test_a_configured_broker_needs_no_service_of_ours(settings):
    units = units_of(settings, broker_url=REMOTE)
    assert "acoupi-broker.service" not in units
    assert not any("acoupi-broker" in text for text in units.values())


def test_the_services_call_the_homes_scripts(settings):
    units = units_of(settings)
    start = f'"{settings.start_script}"'
    recorder = units["acoupi-worker-recording.service"]
    assert f'ExecStart={start} "recording"' in recorder
    assert f'ExecStart="{settings.beat_script}"' in units["acoupi-beat.service"]
    assert f'ExecStart={start} "--broker"' in units["acoupi-broker.service"]


def test_the_recorder_comes_first_and_the_model_is_sacrificed(settings):
    units = units_of(settings)
    recorder = units["acoupi-worker-recording.service"]
    model = units["acoupi-worker-detection.service"]
    assert "Nice=-15" in recorder
    assert "OOMScoreAdjust=-500" in recorder
    assert "MemoryMax" not in recorder
    assert "OOMScoreAdjust=500" in model
    assert "MemoryMax=" in model


def test_nothing_holds_up_a_recorder_that_was_killed(settings):
    units = units_of(settings)
    assert "RestartSec=1\n" in units["acoupi-worker-recording.service"]
    for name, text in units.items():
        # What runs between two lives of a process delays the second.
        assert "ExecStop" not in text, name
        # systemd never forgets a restart: each would be later than the one before.
        assert "RestartSteps" not in text, name


def test_a_worker_that_does_everything_is_neither_preferred_nor_sacrificed(settings):
    text = units_of(settings, workers=ALONE)["acoupi-worker-acoupi.service"]
    assert "char-alsa" in text
    for directive in ("Nice=", "OOMScoreAdjust=", "MemoryMax="):
        assert directive not in text


def test_a_broker_that_dies_takes_nobody_with_it(settings):
    units = units_of(settings)
    workers = [text for name, text in units.items() if name.startswith("acoupi-worker")]
    assert workers
    for text in workers:
        assert "Wants=acoupi-broker.service" in text
        assert "Requires=" not in text
        assert "BindsTo=" not in text


def test_only_those_with_audio_reach_the_sound_card(settings):
    units = units_of(settings)
    with_audio = {name for name, text in units.items() if "char-alsa" in text}
    assert with_audio == {"acoupi-worker-recording.service"}


def test_users_units_ask_for_nothing_that_their_manager_cannot_do(settings):
    for text in units_of(settings, system=False).values():
        assert "User=" not in text
        assert "Nice=-" not in text
        assert "OOMScoreAdjust=-" not in text
        assert "PrivateNetwork" not in text


def test_data_in_a_temporary_directory_is_shared_by_the_processes(settings):
    text = units_of(Settings("/var/lib/acoupi"), writable=[Path("/tmp/acoupi/audio")])[
        "acoupi-worker-default.service"
    ]
    assert "PrivateTmp=no" in text
    assert 'ReadWritePaths="-/tmp"\n' in text


def test_systemd_does_not_empty_the_memory_where_recordings_wait(settings):
    # RemoveIPC= deletes what the service's user has in /dev/shm, directories included.
    for text in units_of(settings).values():
        assert "RemoveIPC" not in text


def test_data_in_memory_is_not_named_because_a_boot_empties_it(settings):
    text = units_of(
        Settings("/var/lib/acoupi"), writable=[Path("/dev/shm/acoupi-0/audio")]
    )["acoupi-worker-default.service"]
    assert "/dev/shm" not in text
    assert "PrivateTmp=yes" in text


@pytest.mark.parametrize("name", ["with space", "100%", "$HOME"])
def test_any_home_is_written_so_that_systemd_reads_it(tmp_path, name):
    settings = Settings(tmp_path / name)
    for script in (settings.start_script, settings.beat_script):
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    files = write(tmp_path / "units", units_of(settings))
    run = analyze("verify", *files)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("name", ["quo'te", 'dou"ble', "back\\slash", "new\nline"])
def test_a_home_that_systemd_cannot_run_is_refused_with_the_remedy(tmp_path, name):
    with pytest.raises(ConfigurationError, match="ACOUPI_HOME"):
        units_of(Settings(tmp_path / name))


@pytest.mark.parametrize("name", ["quo'te", 'dou"ble', "back\\slash", "100%", "a b"])
def test_any_directory_is_written_so_that_systemd_reads_it(settings, tmp_path, name):
    # Elsewhere than in /tmp, which is granted as a whole.
    files = write(
        tmp_path / "units", units_of(settings, writable=[Path("/srv") / name])
    )
    run = analyze("verify", *files)
    assert (run.returncode, run.stderr) == (0, "")


def test_the_same_input_gives_the_same_units(settings):
    assert units_of(settings) == units_of(settings)


def test_directories_to_write_to_are_found_in_any_configuration(tmp_path):
    class Paths(BaseModel):
        recordings: Path = tmp_path / "recordings"
        database: Path = tmp_path / "db" / "acoupi.db"

    class Config(BaseModel):
        paths: Paths = Paths()
        more: list[Path] = [tmp_path / "more"]
        named: dict[str, Path] = {"a": tmp_path / "named"}
        none: Path | None = None
        text: str = "/not/a/path"

    assert writable_paths(Config()) == [
        tmp_path / "db",
        tmp_path / "more",
        tmp_path / "named",
        tmp_path / "recordings",
    ]
