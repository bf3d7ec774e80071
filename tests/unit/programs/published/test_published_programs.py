"""Programs that are published for this framework run unmodified."""

from __future__ import annotations

import importlib.util
import sys
import wave
from pathlib import Path

import pytest
from celery import Celery
from kombu.utils.json import dumps, loads

from acoupi import components, data
from acoupi.components import types
from acoupi.system import load_program, load_program_class

HERE = Path(__file__).parent


@pytest.fixture(params=["bird_program", "bat_program"])
def module_name(request, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    yield request.param
    sys.modules.pop(request.param, None)


@pytest.fixture
def bird(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    yield importlib.import_module("bird_program")
    sys.modules.pop("bird_program", None)


@pytest.fixture
def app():
    app = Celery("test", set_as_current=False)
    app.conf.update(task_always_eager=True, broker_url="memory://")
    return app


def settings(tmp_path, **more):
    return {
        "microphone": {"device_name": "default", "source": "signal"},
        "paths": {
            "tmp_audio": tmp_path / "tmp",
            "recordings": tmp_path / "recordings",
            "db_metadata": tmp_path / "metadata.db",
        },
        **more,
    }


def messaging(tmp_path, **more):
    return {
        "messages_db": tmp_path / "messages.db",
        "http": {"base_url": "http://127.0.0.1:9/"},
        **more,
    }


def make(name, app, config):
    program = load_program(name)
    assert load_program_class(name) is program
    schema = program.get_config_schema()
    return program(program_config=schema.model_validate(config), app=app)


def make_recording(tmp_path, program):
    folder = program.config.paths.tmp_audio
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000))
    recording = data.Recording(
        created_on=data.utc_now(),
        duration=1,
        samplerate=8000,
        path=path,
        deployment=program.store.get_current_deployment(),
    )
    program.store.store_recording(recording)
    return recording


def test_they_load_and_register_the_tasks_by_name(module_name, app, tmp_path):
    program = make(module_name, app, settings(tmp_path, messaging=messaging(tmp_path)))
    assert set(program.tasks) == {
        "recording_task",
        "detection_task",
        "file_management_task",
        "reconcile_task",
        "clock_correction_task",
        "send_messages_task",
        "heartbeat_task",
        "summary_task",
    }
    assert {n: program.get_queue(n) for n in program.tasks} == {
        **dict.fromkeys(program.tasks, "celery"),
        "recording_task": "recording",
        "detection_task": "detection",
    }
    scheduled = set(app.conf.beat_schedule)
    assert scheduled == set(program.tasks) - {"detection_task"}


def test_their_workers_are_recording_default_and_detection(module_name):
    workers = load_program(module_name).get_worker_config().workers
    assert [(w.name, w.queues) for w in workers] == [
        ("recording", ["recording"]),
        ("default", ["celery"]),
        ("detection", ["detection"]),
    ]


def test_without_a_destination_nothing_is_sent(module_name, app, tmp_path):
    program = make(module_name, app, settings(tmp_path))
    assert not {"send_messages_task", "heartbeat_task"} & set(program.tasks)
    assert isinstance(program.message_store, types.MessageStore)


def test_a_recording_goes_all_the_way(module_name, app, tmp_path):
    program = make(module_name, app, settings(tmp_path, messaging=messaging(tmp_path)))
    recording = make_recording(tmp_path, program)
    program.tasks["detection_task"].delay(recording)
    program.tasks["detection_task"].delay(recording)
    ((stored, (output,)),) = program.store.get_recordings(ids=[recording.id])
    assert stored.id == recording.id
    assert output.name_model == program.model.name
    (detection,) = output.detections
    assert detection.prediction_type == "presence"
    (message,) = program.message_store.get_unsent_messages()
    assert str(recording.id) in str(message.content)
    program.tasks["file_management_task"].delay()
    ((kept, _),) = program.store.get_recordings(ids=[recording.id])
    assert kept.path is not None
    assert kept.path.is_relative_to(tmp_path / "recordings")
    assert kept.path.is_file()
    assert not recording.path.exists()
    program.tasks["summary_task"].delay()


def test_a_recording_travels_as_argument_of_a_task(module_name, app, tmp_path):
    program = make(module_name, app, settings(tmp_path))
    recording = make_recording(tmp_path, program)
    assert loads(dumps(((recording,), {})))[0] == [recording]


@pytest.mark.parametrize(
    ("summariser", "kind"),
    [
        ({"interval": 60}, "StatisticsDetectionsSummariser"),
        (
            {
                "interval": 60,
                "low_band_threshold": 0.1,
                "mid_band_threshold": 0.4,
                "high_band_threshold": 0.8,
            },
            "ThresholdsDetectionsSummariser",
        ),
    ],
)
def test_the_bird_program_summarises_as_configured(
    bird, app, tmp_path, summariser, kind
):
    program = make(
        "bird_program", app, settings(tmp_path, summariser_config=summariser)
    )
    (made,) = program.get_summarisers(program.config)
    assert type(made).__name__ == kind
    assert made.interval == 3600


def test_the_bird_programs_filters_are_made_with_its_timezone(bird, app, tmp_path):
    config = settings(tmp_path, recording_saving={}, timezone="Europe/Madrid")
    program = make("bird_program", app, config)
    kinds = [type(f) for f in program.get_recording_filters(program.config)]
    assert kinds == [
        components.SaveIfInInterval,
        components.FrequencySchedule,
        components.Before_DawnDuskTimeInterval,
        components.After_DawnDuskTimeInterval,
        components.SavingThreshold,
    ]
    recording = make_recording(tmp_path, program)
    program.tasks["detection_task"].delay(recording)
    program.tasks["file_management_task"].delay()
    ((kept, _),) = program.store.get_recordings(ids=[recording.id])
    assert kept.path.parent == tmp_path / "recordings" / "birds"


def test_the_modules_are_not_part_of_the_suite():
    # They stand for packages of their own: nothing of the tests may leak into them.
    for name in ("bird_program", "bat_program"):
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
        assert spec is not None
        assert "pytest" not in (HERE / f"{name}.py").read_text()
