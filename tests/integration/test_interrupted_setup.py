"""A setup or a start of a deployment that is killed leaves the former or the new."""

from __future__ import annotations

import importlib
import json
import shutil

import pytest
from interruptions import kill_everywhere

from acoupi.components import SqliteStore
from acoupi.system import (
    CeleryConfig,
    Settings,
    get_celery_app,
    load_config,
    setup_program,
)
from acoupi.system.configuration import (
    NotSetUpError,
    load_celery_config,
    read_program_name,
)
from acoupi.system.deployments import (
    announce_deployment,
    get_current_deployment,
    start_deployment,
)

FORMER = "acoupi.programs.default"
LATTER = "acoupi.programs.activity"


@pytest.fixture(autouse=True, scope="module")
def celery():
    """Loaded once, and not in each of the processes that try a program."""
    importlib.import_module("acoupi.system.bootsteps")


def options(root, duration):
    return {
        "timezone": "UTC",
        "microphone": {"source": "signal"},
        "recording": {"duration": duration},
        "paths": {
            "tmp_audio": str(root / "tmp"),
            "recordings": str(root / "recordings"),
            "db_metadata": str(root / "acoupi.db"),
        },
    }


EACH = pytest.param(1, id="every step", marks=pytest.mark.slow)


def contents(settings):
    """Return every generated file of a home."""
    names = (
        "app.py",
        *sorted(f"config/{p.name}" for p in (settings.home / "config").iterdir()),
    )
    scripts = sorted(f"bin/{path.name}" for path in (settings.home / "bin").iterdir())
    return {name: (settings.home / name).read_bytes() for name in (*names, *scripts)}


@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("stride", [pytest.param(20, id="every twentieth step"), EACH])
@pytest.mark.parametrize("first", [True, False], ids=["first setup", "another setup"])
def test_a_setup_can_be_killed_anywhere(memory_path, first, stride):
    # One home for all trials: its path is in what is generated.
    settings = Settings(memory_path / "home")
    setup_program(
        settings, LATTER, options(memory_path, 7), CeleryConfig(log_level="DEBUG")
    )
    new = contents(settings)
    shutil.rmtree(settings.home)
    setup_program(settings, FORMER, options(memory_path, 5))
    old = contents(settings)
    former = settings.home.rename(memory_path / "former")
    done = []

    def prepare(_trial):
        shutil.rmtree(settings.home, ignore_errors=True)
        if not first:
            shutil.copytree(former, settings.home, symlinks=True)

    def act():
        setup_program(
            settings, LATTER, options(memory_path, 7), CeleryConfig(log_level="DEBUG")
        )

    def check(killed):
        try:
            name = read_program_name(settings)
        except NotSetUpError:
            assert first
            done.append("nothing")
        else:
            done.append(name)
            assert contents(settings) == (new if name == LATTER else old)
            config = load_config(settings)
            assert config.recording.duration == (7 if name == LATTER else 5)
            level = load_celery_config(settings).log_level
            assert level == ("DEBUG" if name == LATTER else "INFO")
        # Whatever is left, the next setup is as ever.
        act()
        assert contents(settings) == new
        left = {path.name for path in settings.home.iterdir()}
        assert left == {"app.py", "bin", "config", "log", "run"}

    trials = kill_everywhere(prepare, act, check, stride)
    print(f"setup: {trials} kills; then there was {sorted(set(done))}")
    assert trials > 20 / stride
    assert set(done) == {LATTER, "nothing" if first else FORMER}


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("stride", [pytest.param(4, id="every fourth step"), EACH])
def test_the_start_of_a_deployment_can_be_killed_anywhere(memory_path, stride):
    root = memory_path / "sensor"
    settings = Settings(root / "home")
    setup_program(settings, FORMER, options(root, 5))
    former = root.rename(memory_path / "former")

    def prepare(_trial):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(former, root, symlinks=True)

    def act():
        start_deployment(settings, "meadow", 51.5, -0.1)

    def check(killed):
        current = get_current_deployment(settings)
        if current is None:
            assert killed
            start_deployment(settings, "meadow", 51.5, -0.1)
            current = get_current_deployment(settings)
        assert (current.name, current.latitude) == ("meadow", 51.5)
        assert json.loads(settings.deployment_file.read_text())["name"] == "meadow"
        program = get_celery_app(settings).acoupi_program
        announce_deployment(settings, program)
        store = SqliteStore(root / "acoupi.db")
        assert store.get_current_deployment() == current
        store.database.close()

    trials = kill_everywhere(prepare, act, check, stride)
    print(f"deployment: {trials} kills")
    assert trials > 40 / stride
