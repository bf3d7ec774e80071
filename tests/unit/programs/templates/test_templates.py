"""The templates compose the usual tasks, and each part can be exchanged."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest
from celery import Celery

from acoupi import data
from acoupi.components import IsInInterval, SaveRecordingManager, types
from acoupi.components.recorders import Loss
from acoupi.errors import ConfigurationError
from acoupi.programs.activity import ActivityConfiguration, ActivityProgram
from acoupi.programs.connected import ConnectedConfiguration, ConnectedProgram
from acoupi.programs.default import DefaultConfiguration, DefaultProgram
from acoupi.programs.templates import BasicProgram, BasicProgramConfiguration
from acoupi.testing import (
    FakeMessenger,
    FakeModel,
    FakeRecorder,
    make_model_output,
    make_recording,
    wait_until,
)


@pytest.fixture
def app(tmp_path):
    app = Celery("test", set_as_current=False)
    app.conf.update(
        task_always_eager=True,
        broker_url="memory://",
        acoupi_run_dir=str(tmp_path / "run"),
    )
    (tmp_path / "run").mkdir()
    return app


def settings(tmp_path, **more):
    return {
        "microphone": {"source": "signal", "source_realtime": False},
        "recording": {
            "duration": 0.5,
            "interval": 0,
            "schedule_start": "00:00",
            "schedule_end": "00:00",
        },
        "paths": {
            "tmp_audio": tmp_path / "tmp",
            "recordings": tmp_path / "recordings",
            "db_metadata": tmp_path / "metadata.db",
        },
        **more,
    }


def default_program(app, tmp_path, **more):
    config = DefaultConfiguration.model_validate(settings(tmp_path, **more))
    return DefaultProgram(program_config=config, app=app)


def stored_recording(tmp_path, program):
    (tmp_path / "tmp").mkdir(exist_ok=True)
    recording = make_recording(
        tmp_path / "tmp" / "a.wav", deployment=program.store.get_current_deployment()
    )
    program.store.store_recording(recording)
    return recording


def test_setting_up_opens_no_device_and_writes_no_sound(app, tmp_path):
    default_program(app, tmp_path, microphone={"device_name": "no such microphone"})
    assert not (tmp_path / "tmp").exists()


def test_the_recorder_writes_its_status_where_the_others_look(app, tmp_path):
    program = default_program(app, tmp_path, microphone={"source": "signal"})
    program.worker_started(["recording"])
    status = tmp_path / "run" / "recorder.json"
    wait_until(status.exists, what="the status file")
    program.worker_stopping(["recording"])


def test_what_was_lost_until_the_stop_is_accounted_for(app, tmp_path):
    program = default_program(app, tmp_path, microphone={"source": "signal"})
    program.worker_started(["recording"])
    program.recorder.take_back(Loss("recordings", 3, "full"))
    program.worker_stopping(["recording"])
    assert program.store.total_losses()["recordings"] == 3


def test_the_day_window_is_a_condition_in_the_configured_zone(app, tmp_path):
    program = default_program(
        app,
        tmp_path,
        timezone="America/New_York",
        recording={"schedule_start": "06:00", "schedule_end": "22:30"},
    )
    (condition,) = program.get_recording_conditions(program.config)
    assert isinstance(condition, IsInInterval)
    zone = zoneinfo.ZoneInfo("America/New_York")
    noon = datetime.datetime(2026, 1, 1, 12, tzinfo=zone)
    assert condition.should_record(noon)
    assert not condition.should_record(noon.replace(hour=5, minute=59))
    assert not condition.should_record(noon.replace(hour=22, minute=30))


@pytest.mark.parametrize(
    ("duration", "interval", "seconds"), [(3, 10, 3), (60, 60, 10), (0.2, 5, 1)]
)
def test_finished_recordings_are_fetched_soon(
    app, tmp_path, duration, interval, seconds
):
    recording = {"duration": duration, "interval": interval}
    default_program(app, tmp_path, recording=recording)
    schedule = app.conf.beat_schedule["recording_task"]["schedule"]
    assert schedule == datetime.timedelta(seconds=seconds)


def test_a_recorder_without_a_stream_is_called_once_per_interval(app, tmp_path):
    class Program(BasicProgram[BasicProgramConfiguration]):
        def configure_recorder(self, config):
            return FakeRecorder(tmp_path)

    config = BasicProgramConfiguration.model_validate(
        settings(tmp_path, recording={"duration": 3, "interval": 15})
    )
    program = Program(program_config=config, app=app)
    schedule = app.conf.beat_schedule["recording_task"]["schedule"]
    assert schedule == datetime.timedelta(seconds=15)
    program.worker_started(["recording", "celery"])
    assert program.worker_healthy(["recording"])
    assert program.needs_broker(["recording"])
    program.worker_stopping(["recording", "celery"])


def test_the_recording_worker_alone_records_from_its_start_to_its_stop(app, tmp_path):
    program = default_program(app, tmp_path)
    program.worker_started(["celery"])
    assert list(program.recorder.harvest()) == []
    assert program.needs_broker(["celery"])
    assert not program.needs_broker(["recording"])
    program.worker_started(["recording"])
    wait_until(lambda: any((tmp_path / "tmp").glob("*.wav")), what="a recording")
    assert program.worker_healthy(["recording"])
    program.tasks["recording_task"]()
    program.worker_stopping(["recording"])
    recordings = [recording for recording, _ in program.store.get_recordings()]
    assert recordings
    # What was unfinished at the stop is stored, too.
    files = {path.resolve() for path in (tmp_path / "tmp").glob("*.wav")}
    assert files == {recording.path.resolve() for recording in recordings}


def test_conditions_follow_the_deployment(app, tmp_path):
    class Program(DefaultProgram):
        def get_recording_conditions(self, config):
            return [self.condition]

        class Condition(types.RecordingCondition):
            def __init__(self):
                self.places = []

            def should_record(self, now=None):
                return True

            def use_deployment(self, deployment):
                self.places.append(deployment.name)

        condition = Condition()

    config = DefaultConfiguration.model_validate(settings(tmp_path))
    program = Program(program_config=config, app=app)
    assert program._get_deployment().name == "unnamed"
    program._get_deployment()
    program.on_start(data.Deployment(name="wood"))
    assert program._get_deployment().name == "wood"
    assert program.condition.places == ["unnamed", "wood"]


def test_a_deployment_is_stored_at_its_start_and_its_end(app, tmp_path):
    program = default_program(app, tmp_path)
    deployment = data.Deployment(name="wood", latitude=1, longitude=2)
    program.on_start(deployment)
    assert program.store.get_current_deployment() == deployment
    program.on_end(deployment)
    assert program.store.get_current_deployment().name == "unnamed"


def test_the_default_program_keeps_every_recording_as_flac(app, tmp_path):
    program = default_program(app, tmp_path)
    program.worker_started(["recording"])
    wait_until(lambda: any((tmp_path / "tmp").glob("*.wav")), what="a recording")
    program.worker_stopping(["recording"])
    made = len(program.store.get_recordings())
    program.tasks["file_management_task"]()
    kept = [recording for recording, _ in program.store.get_recordings()]
    assert len(kept) == made
    assert all(r.path.suffix == ".flac" and r.path.is_file() for r in kept)
    assert not any((tmp_path / "tmp").glob("*.wav"))


def test_wav_and_retention_are_a_matter_of_configuration(app, tmp_path):
    program = default_program(
        app,
        tmp_path,
        keeping={"file_format": "wav"},
        retention={"min_free_space": 2, "max_age": 1.5},
    )
    (manager,) = program.get_file_managers(program.config)
    assert isinstance(manager, SaveRecordingManager)
    assert manager.file_format == "keep"
    retention = program.configure_retention(program.config)
    assert retention.min_free_bytes == 2_000_000
    assert retention.max_age == datetime.timedelta(hours=36)
    program = default_program(app, tmp_path, retention={"min_free_space": 0})
    assert program.configure_retention(program.config) is None


def test_reconciling_rings_for_what_was_not_analysed(app, tmp_path):
    class Program(ActivityProgram):
        def configure_model(self, config):
            return FakeModel(name="fake")

    config = ActivityConfiguration.model_validate(settings(tmp_path))
    program = Program(program_config=config, app=app)
    recording = stored_recording(tmp_path, program)
    program.worker_started(["celery"])
    ((_, outputs),) = program.store.get_recordings(ids=[recording.id])
    assert [output.name_model for output in outputs] == ["fake"]


def test_the_connected_program_reports_on_itself(app, tmp_path):
    class Program(ConnectedProgram):
        def configure_messengers(self, config):
            return [FakeMessenger()]

    config = ConnectedConfiguration.model_validate(settings(tmp_path))
    program = Program(program_config=config, app=app)
    program.worker_started(["celery"])
    (message,) = program.message_store.get_unsent_messages()
    assert "heartbeat" in message.content
    program.tasks["send_messages_task"]()
    assert [m.id for m in program.messengers[0].delivered] == [message.id]
    assert program.message_store.get_unsent_messages() == []
    program.check(config)
    program.worker_stopping(["celery"])


def test_messages_from_before_the_first_sending_reach_every_destination(app, tmp_path):
    class Nameless:
        def __init__(self):
            self.sent = []

        def send_message(self, message):
            self.sent.append(message.content)
            return data.Response(
                status=data.ResponseStatus.SUCCESS, message=message, content=""
            )

    class Program(ConnectedProgram):
        def configure_messengers(self, config):
            return [Nameless(), Nameless()]

    config = ConnectedConfiguration.model_validate(settings(tmp_path))
    # What another process of the sensor stored, which sends nothing itself.
    Program(config, app).configure_message_store(config).store_message(
        data.Message(content="early")
    )
    program = Program(program_config=config, app=app)
    program.tasks["send_messages_task"]()
    assert [m.sent for m in program.messengers] == [["early"], ["early"]]
    assert program.message_store.get_unsent_messages() == []


@pytest.mark.parametrize(("all_kept", "expected"), [(False, 0), (True, 1)])
def test_the_activity_program_keeps_silence_only_when_told(
    app, tmp_path, all_kept, expected
):
    config = ActivityConfiguration.model_validate(
        settings(tmp_path, keeping={"without_detections": all_kept})
    )
    program = ActivityProgram(program_config=config, app=app)
    recording = stored_recording(tmp_path, program)
    program.store.store_model_output(make_model_output(recording, "activity", tags=[]))
    program.tasks["file_management_task"]()
    assert len(list((tmp_path / "recordings").glob("*.*"))) == expected


@pytest.mark.parametrize("all_kept", [False, True])
def test_the_activity_program_sets_aside_beside_what_it_keeps(app, tmp_path, all_kept):
    config = ActivityConfiguration.model_validate(
        settings(tmp_path, keeping={"without_detections": all_kept})
    )
    program = ActivityProgram(program_config=config, app=app)
    recording = stored_recording(tmp_path, program)
    program.store.note_failure(recording, "activity", "it cannot be read")
    program.tasks["file_management_task"]()
    assert list((tmp_path / "recordings" / "set_aside").glob("*.wav"))
    assert not list(tmp_path.glob("tmp_set_aside*"))


def test_a_place_for_recordings_that_cannot_be_written_to_fails_the_check(
    app, tmp_path
):
    program = default_program(app, tmp_path)
    program.check(program.config)
    (tmp_path / "recordings").write_text("not mounted")
    with pytest.raises(ConfigurationError, match=r"paths\.recordings"):
        program.check(program.config)


def test_the_activity_program_keeps_what_was_detected(app, tmp_path):
    config = ActivityConfiguration.model_validate(settings(tmp_path))
    program = ActivityProgram(program_config=config, app=app)
    recording = stored_recording(tmp_path, program)
    tag = ("sound", "activity", config.detections.threshold)
    program.store.store_model_output(make_model_output(recording, "activity", [tag]))
    program.tasks["file_management_task"]()
    assert len(list((tmp_path / "recordings").glob("*.flac"))) == 1


def test_what_is_below_the_threshold_is_not_stored(app, tmp_path):
    class Program(ActivityProgram):
        def configure_model(self, config):
            tags = [("species", "a", 0.1), ("species", "b", 0.6)]
            return FakeModel(tags)

    config = ActivityConfiguration.model_validate(
        settings(tmp_path, detections={"threshold": 0.5})
    )
    program = Program(program_config=config, app=app)
    recording = stored_recording(tmp_path, program)
    program.tasks["detection_task"].delay(recording)
    ((_, (output,)),) = program.store.get_recordings(ids=[recording.id])
    assert [d.detection_score for d in output.detections] == [0.6]
