"""Setting up writes the specified home: whole, deterministic, private, or nothing."""

from __future__ import annotations

import importlib
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from acoupi.errors import AcoupiError, ConfigurationError
from acoupi.system import (
    CeleryConfig,
    Settings,
    list_programs,
    load_config,
    rehearsal,
    setup_program,
)
from acoupi.system.configuration import (
    ManagedConfigurationError,
    NotSetUpError,
    load_celery_config,
    read_program_name,
    read_raw_config,
)
from acoupi.system.setup import SetupError
from acoupi.system.validation import InvalidConfigurationError

PROGRAM = "setup_sample"
SOURCE = '''
"""A program to be set up."""
import os
from pathlib import Path
from pydantic import BaseModel, Field, SecretStr
from acoupi.programs import AcoupiProgram, AcoupiWorker, WorkerConfig

class Config(BaseModel):
    duration: float = Field(gt=0)
    password: SecretStr | None = None
    place: Path = Field(default_factory=lambda: Path(os.environ["ACOUPI_HOME"]) / "d")
    fault: str | None = None

def fail():
    raise RuntimeError("no such sensor")

FAULTS = {
    "raise": fail,
    "exit": lambda: os.sys.exit(7),
    "vanish": lambda: os._exit(0),
    "crash": lambda: os.kill(os.getpid(), 11),
    "ask": lambda: input("Which?"),
    "hang": lambda: os.read(os.pipe()[0], 1),
}

class Sample(AcoupiProgram[Config]):
    config_schema = Config
    worker_config = WorkerConfig(workers=[
        AcoupiWorker(name="recording", queues=["recording"]),
        AcoupiWorker(name="it-is_2.0", queues=["celery", "other"]),
    ])
    def setup(self, config):
        self.add_task(self.look, schedule=10)
        if config.fault:
            FAULTS[config.fault]()
    def look(self):
        pass
'''

LAYOUT = {
    "app.py",
    "bin",
    "bin/acoupi-beat.sh",
    "bin/acoupi-workers-restart.sh",
    "bin/acoupi-workers-start.sh",
    "bin/acoupi-workers-stop.sh",
    "config",
    "config/celery.json",
    "config/name",
    "config/program.json",
    "log",
    "run",
}


@pytest.fixture(autouse=True, scope="module")
def celery():
    """Loaded once, and not in each of the processes that try a program."""
    importlib.import_module("acoupi.system.bootsteps")


@pytest.fixture(autouse=True)
def modules(tmp_path_factory, monkeypatch):
    """Directory of the sample program, on the Python path."""
    directory = tmp_path_factory.mktemp("modules")
    (directory / f"{PROGRAM}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(directory)
    sys.modules.pop(PROGRAM, None)
    yield directory
    sys.modules.pop(PROGRAM, None)


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "home")


def tree(directory: Path) -> dict[str, tuple[int, bytes | None]]:
    return {
        str(path.relative_to(directory)): (
            stat.S_IMODE(path.stat().st_mode),
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(directory.rglob("*"))
    }


def test_the_home_has_exactly_the_specified_layout(settings):
    setup_program(settings, PROGRAM, {"duration": 3})
    assert set(tree(settings.home)) == LAYOUT


def test_what_was_set_up_is_read_back_with_its_secret(settings):
    given = setup_program(
        settings,
        PROGRAM,
        {"duration": 3, "password": "hunter2"},
        CeleryConfig(log_level="DEBUG"),
    )
    assert read_program_name(settings) == PROGRAM
    assert load_config(settings) == given
    assert load_config(settings).password.get_secret_value() == "hunter2"
    assert load_celery_config(settings).log_level == "DEBUG"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files_that_hold_secrets_are_private_whatever_the_umask(settings, umask):
    before = os.umask(umask)
    try:
        setup_program(settings, PROGRAM, {"duration": 3, "password": "hunter2"})
    finally:
        os.umask(before)
    found = tree(settings.home)
    assert found["config/program.json"][0] == 0o600
    assert found["config/celery.json"][0] == 0o600
    assert found["run"][0] == 0o700
    assert found["bin/acoupi-beat.sh"][0] == 0o755
    holders = [name for name, (_, text) in found.items() if b"hunter2" in (text or b"")]
    assert holders == ["config/program.json"]


def test_equal_input_gives_equal_bytes(settings):
    setup_program(settings, PROGRAM, {"duration": 3, "password": "x"})
    first = tree(settings.home)
    setup_program(settings, PROGRAM, {"password": "x", "duration": 3.0})
    assert tree(settings.home) == first


def test_equal_input_gives_equal_bytes_in_another_process(settings, modules):
    setup_program(settings, PROGRAM, {"duration": 3})
    first = tree(settings.home)
    code = (
        "from acoupi.system import Settings, setup_program\n"
        f"setup_program(Settings({str(settings.home)!r}), {PROGRAM!r}, "
        "{'duration': 3})\n"
    )
    environment = os.environ | {
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": str(modules),
        "TZ": "Asia/Tokyo",
    }
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert tree(settings.home) == first


def test_a_new_setup_keeps_what_is_not_generated(settings):
    setup_program(settings, PROGRAM, {"duration": 3})
    foreign = {
        "log/worker.log": b"log",
        "run/beat.pid": b"1\n",
        "data/recordings/a.wav": b"sound",
        "config/deployment.json": b"{}",
        "notes.txt": b"notes",
    }
    for name, content in foreign.items():
        path = settings.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    setup_program(settings, PROGRAM, {"duration": 4})
    for name, content in foreign.items():
        assert (settings.home / name).read_bytes() == content
    assert load_config(settings).duration == 4


def test_a_default_that_depends_on_the_home_is_that_of_this_home(settings, monkeypatch):
    monkeypatch.setenv("ACOUPI_HOME", "/elsewhere")
    config = setup_program(settings, PROGRAM, args=["--duration", "3"])
    assert config.place == settings.home / "d"
    assert load_config(settings).place == settings.home / "d"
    assert os.environ["ACOUPI_HOME"] == "/elsewhere"


@pytest.mark.parametrize(
    ("program", "config", "celery", "said"),
    [
        (PROGRAM, {"duration": -1}, None, "duration = -1"),
        (PROGRAM, {"duraton": 1}, None, "did you mean 'duration'"),
        (PROGRAM, {"duration": 1}, {"broker_url": "ftp://x"}, "broker_url"),
        (PROGRAM, {"duration": 1}, {"timezone": "Mars/Olympus"}, "timezone"),
        (PROGRAM, {"duration": 1}, {"pol": "solo"}, "'pool'"),
        ("no.such.program", {}, None, "no module"),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_setup_that_is_refused_changes_nothing(
    settings, program, config, celery, said, exists
):
    if exists:
        setup_program(settings, PROGRAM, {"duration": 3})
    former = tree(settings.home.parent)
    with pytest.raises(ConfigurationError, match=said):
        setup_program(settings, program, config, celery)
    assert tree(settings.home.parent) == former


@pytest.mark.parametrize(
    "url",
    [
        "ftp://u:hunter2@h",
        "redis://u:hunter2@h:99999",
        "redis://:hunter2/rest-of-it@h",
        "redis://:hunter2@rest-of-it@h:x",
    ],
)
def test_the_password_of_a_broker_is_not_repeated_in_an_error(settings, url):
    with pytest.raises(InvalidConfigurationError) as caught:
        setup_program(settings, PROGRAM, {"duration": 1}, {"broker_url": url})
    assert "hunter2" not in str(caught.value)
    assert "rest-of-it" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis+socket:///run/redis.sock?virtual_host=1",
        "amqp://u:p%2Fq@[::1]:5672//",
        "sentinel://a:26379;sentinel://b:26379;c:26379",
    ],
)
def test_all_that_celery_takes_for_a_broker_is_taken(settings, url):
    setup_program(settings, PROGRAM, {"duration": 1}, {"broker_url": url})


def test_a_failure_to_write_names_the_file_and_says_that_nothing_changed(
    settings, monkeypatch
):
    setup_program(settings, PROGRAM, {"duration": 3})
    former = tree(settings.home.parent)

    def refuse(*args, **keywords):
        raise OSError(28, "No space left on device", "/x/file")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(SetupError, match="No space left on device") as caught:
        setup_program(settings, PROGRAM, {"duration": 4})
    assert "unchanged" in str(caught.value)
    assert caught.value.exit_code == 1
    assert tree(settings.home.parent) == former


def test_a_home_below_a_file_is_refused_in_plain_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="file"):
        setup_program(Settings(tmp_path / "file/home"), PROGRAM, {"duration": 3})
    with pytest.raises(SetupError):
        setup_program(Settings(tmp_path / "file"), PROGRAM, {"duration": 3})


def test_a_home_that_is_managed_is_refused_and_says_by_whom(settings):
    setup_program(settings, PROGRAM, {"duration": 3})
    settings.managed_file.write_text("services.acoupi of the NixOS configuration\n")
    former = tree(settings.home)
    with pytest.raises(ManagedConfigurationError, match=r"services\.acoupi"):
        setup_program(settings, PROGRAM, {"duration": 4})
    assert tree(settings.home) == former


def test_a_setup_writes_nothing_outside_the_home(tmp_path):
    """Run the command line in a home of its own and look at everything else."""
    outside = tmp_path / "outside"
    (outside / "user").mkdir(parents=True)
    (outside / "work").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(outside / "user"),
        "TMPDIR": str(outside / "tmp"),
        "ACOUPI_HOME": str(tmp_path / "x"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(
            Path(sys.modules.get(PROGRAM, sys).__dict__.get("__file__", "/")).parent
        ),
    }
    (outside / "tmp").mkdir()
    before = tree(outside)
    memory = set(Path("/dev/shm").iterdir()) if Path("/dev/shm").is_dir() else set()
    code = (
        "from acoupi.system import Settings, setup_program\n"
        "setup_program(Settings(), 'acoupi.programs.default')\n"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env=environment,
        cwd=outside / "work",
    )
    assert tree(outside) == before
    assert set(tree(tmp_path / "x")) == LAYOUT
    if memory:
        made = set(Path("/dev/shm").iterdir()) - memory
        assert not [path for path in made if path.name.startswith("acoupi-")]


def test_the_app_file_is_valid_python_that_names_this_home(settings):
    setup_program(settings, PROGRAM, {"duration": 3})
    text = settings.app_file.read_text()
    compile(text, "app.py", "exec")
    assert repr(str(settings.home)) in text


def test_the_app_file_exposes_the_celery_app_with_the_programs_tasks(settings, modules):
    setup_program(settings, PROGRAM, {"duration": 3})
    code = "import app; print(sorted(app.app.tasks))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=settings.home,
        env=os.environ
        | {
            "PYTHONPATH": str(modules),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    assert "look" in run.stdout
    assert set(tree(settings.home)) == LAYOUT


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda s: s.name_file.unlink(), "acoupi setup"),
        (lambda s: s.name_file.write_text("\n"), "empty"),
        (lambda s: s.program_file.unlink(), "program.json does not exist"),
        (lambda s: s.program_file.write_text("{"), "not valid JSON: line 1"),
        (lambda s: s.program_file.write_bytes(b"\xff\xfe"), "not valid JSON"),
        (lambda s: s.program_file.write_text('{"duration": 0}'), "duration = 0"),
        (lambda s: s.program_file.write_text("[]"), "dictionary"),
        (lambda s: s.name_file.write_text("gone\n"), "no module 'gone'"),
    ],
)
def test_a_damaged_home_is_reported_with_the_file_and_the_way_out(
    settings, break_it, said
):
    setup_program(settings, PROGRAM, {"duration": 3})
    break_it(settings)
    with pytest.raises(ConfigurationError, match=said):
        load_config(settings)


def test_a_home_that_was_never_set_up_says_how_to(settings):
    with pytest.raises(NotSetUpError, match="acoupi setup"):
        read_program_name(settings)
    assert not settings.home.exists()


def test_a_schema_that_writes_what_it_does_not_read_is_refused():
    from pydantic import BaseModel, field_serializer

    class Odd(BaseModel):
        number: int = 1

        @field_serializer("number")
        def _write(self, value: int) -> str:
            return "not a number"

    from acoupi.system.setup import _validated

    with pytest.raises(InvalidConfigurationError, match="would be stored"):
        _validated(Odd, {})


@pytest.mark.parametrize("entry", list_programs(), ids=lambda entry: entry.name)
def test_every_program_that_ships_can_be_set_up_without_a_question(settings, entry):
    config = setup_program(settings, entry.module)
    assert load_config(settings) == config
    assert set(tree(settings.home)) == LAYOUT


def test_the_stored_configuration_is_complete_and_readable(settings):
    setup_program(settings, PROGRAM, {"duration": 3})
    stored = json.loads(settings.program_file.read_text())
    assert set(stored) == {"duration", "fault", "password", "place"}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("raise", "RuntimeError: no such sensor"),
        ("exit", "SystemExit: 7"),
        ("vanish", "ended its process"),
        ("crash", "SIGSEGV"),
        ("ask", "EOFError"),
        ("hang", "did not end within"),
    ],
)
def test_a_program_whose_own_setup_fails_is_refused(settings, monkeypatch, fault, said):
    if fault == "hang":
        monkeypatch.setattr(rehearsal, "PATIENCE", 0.5)
    with pytest.raises(AcoupiError, match=said) as refusal:
        setup_program(settings, PROGRAM, {"duration": 3, "fault": fault})
    assert PROGRAM in str(refusal.value)
    assert "nothing was changed" in str(refusal.value)
    assert not settings.home.exists()


def test_a_program_whose_own_setup_fails_leaves_the_former_one(settings):
    setup_program(settings, PROGRAM, {"duration": 3})
    before = tree(settings.home)
    with pytest.raises(ConfigurationError, match="no such sensor"):
        setup_program(settings, PROGRAM, {"duration": 4, "fault": "raise"})
    assert tree(settings.home) == before


def test_a_program_is_not_refused_for_secrets_that_only_its_services_have(settings):
    secret = {"_secret": "password"}
    given = {"duration": 3, "fault": "raise", "password": secret}
    setup_program(settings, PROGRAM, given)
    assert read_raw_config(settings.program_file)["password"] == secret


@pytest.mark.parametrize("program", ["default", "connected", "activity"])
def test_setting_a_program_up_opens_no_microphone_and_makes_no_data(
    settings, tmp_path, program
):
    paths = {
        name: str(tmp_path / "data" / name)
        for name in ("tmp_audio", "recordings", "db_metadata")
    }
    # A device that is not there cannot be opened.
    microphone = {"source": "microphone", "device_name": "no such microphone"}
    config = {"microphone": microphone, "paths": paths, "timezone": "UTC"}
    setup_program(settings, f"acoupi.programs.{program}", config)
    assert set(tree(settings.home)) == LAYOUT
    assert not (tmp_path / "data").exists()
