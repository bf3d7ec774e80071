"""What `acoupi metrics` reads from outside is what the sensor says of itself."""

from __future__ import annotations

import json
import time

import pytest
from configurations import paths_below

from acoupi import data
from acoupi.audio.wallclock import read_boot_id
from acoupi.cli import main
from acoupi.system import Settings, get_celery_app, setup_program
from acoupi.system.configuration import NotSetUpError
from acoupi.system.metrics import read_metrics
from acoupi.testing import make_model_output, make_recording

# Measured at two moments; and what only the program knows.
MOVING = {"uptime", "load", "memory_available", "disk_free", "cpu_temperature"}


@pytest.fixture
def sensor(tmp_path, monkeypatch):
    """A home with the activity program, and the program itself."""
    settings = Settings(tmp_path / "home")
    monkeypatch.setenv("ACOUPI_HOME", str(settings.home))
    setup_program(
        settings,
        "acoupi.programs.activity",
        {
            "microphone": {"source": "signal"},
            "paths": paths_below(tmp_path),
            "messaging": {
                "messages_db": str(tmp_path / "sensor.db"),
                "http": {"base_url": "http://127.0.0.1:9/"},
            },
        },
    )
    program = get_celery_app(settings).acoupi_program
    return settings, program


def values(metrics):
    return {m.name: m.value for m in metrics if m.name.partition(".")[0] not in MOVING}


def fill(settings, program):
    done, undone = make_recording(), make_recording()
    program.store.store_recording(done)
    program.store.store_recording(undone)
    program.store.store_model_output(make_model_output(done))
    program.store.add_loss("samples", 5, "overflow")
    program.message_store.store_message(data.Message(content="a"))
    settings.run_dir.mkdir(exist_ok=True)
    (settings.run_dir / "recorder.json").write_text(
        json.dumps(
            {
                "recording": True,
                "samples_lost": 3,
                "boot_id": read_boot_id(),
                "updated_monotonic": time.monotonic(),
            }
        )
    )


def test_the_figures_are_those_that_the_sensor_offers_and_sends(sensor):
    settings, program = sensor
    fill(settings, program)

    own = values(program.collect_metrics(program.config))
    read = values(read_metrics(settings))
    program.tasks["heartbeat_task"].run()
    sent = [
        json.loads(message.content)["metrics"]
        for message in program.message_store.get_unsent_messages()
        if message.content.startswith("{")
    ][-1]

    assert own.pop("backlog") == 2
    assert read == own
    assert own["lost.samples"] == 5
    assert own["messages_waiting.http"] == 1
    of_heartbeat = {
        name: entry["value"]
        for name, entry in sent.items()
        if name.partition(".")[0] not in MOVING
    }
    assert of_heartbeat.pop("backlog") == 2
    assert of_heartbeat == own


def test_a_sensor_that_never_ran_has_figures(sensor):
    settings, _ = sensor

    found = values(read_metrics(settings))

    assert found["recording"] is False
    assert found["cpus"] >= 1


@pytest.mark.parametrize("content", [b"not a database", b"", None])
def test_a_store_that_cannot_be_read_costs_its_own_figures_only(sensor, content):
    settings, _ = sensor
    database = settings.home.parent / "sensor.db"
    for file in settings.home.parent.glob("sensor.db*"):
        file.unlink()
    if content is not None:
        database.write_bytes(content)

    found = values(read_metrics(settings))

    assert "recordings" not in found
    assert "clock_synchronised" in found


def test_without_a_sensor_there_are_no_figures(tmp_path):
    with pytest.raises(NotSetUpError, match="acoupi setup"):
        read_metrics(Settings(tmp_path))


def test_the_command_prints_them(sensor, capsys):
    settings, program = sensor
    fill(settings, program)

    assert main(["metrics"]) == 0
    text = capsys.readouterr().out
    assert main(["metrics", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)

    assert 'acoupi_messages_waiting{destination="http"} 1\n' in text
    assert found["recordings"] == {"value": 2, "unit": None}


def test_reading_leaves_nothing_behind(sensor):
    settings, program = sensor
    fill(settings, program)
    root = settings.home.parent

    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    read_metrics(settings)

    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
