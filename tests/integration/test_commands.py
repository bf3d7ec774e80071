"""The commands, each doing what it is for."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from acoupi.cli import cli, main
from acoupi.system import CeleryConfig, Settings, load_config, setup_program

ACTIVITY = "acoupi.programs.activity"
SECRET = "canary-7c1f"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("ACOUPI_TRACEBACK", raising=False)
    return tmp_path / "home"


def options(tmp_path: Path) -> dict[str, object]:
    data = tmp_path / "data"
    return {
        "timezone": "Europe/London",
        "microphone": {"source": "signal"},
        "recording": {"schedule_start": "22:00", "schedule_end": "06:00"},
        "paths": {
            "tmp_audio": str(data / "tmp"),
            "recordings": str(data / "recordings"),
            "db_metadata": str(data / "metadata.db"),
        },
        "messaging": {
            "messages_db": str(data / "messages.db"),
            "mqtt": {"host": "broker.example", "password": SECRET},
        },
    }


@pytest.fixture
def sensor(home, tmp_path):
    setup_program(Settings(home), ACTIVITY, options(tmp_path), CeleryConfig())
    return Settings(home)


def run(capfd, *arguments: str, code: int = 0) -> str:
    assert main(list(arguments)) == code, capfd.readouterr().err
    shown = capfd.readouterr()
    assert SECRET not in shown.out + shown.err
    return shown.out


def test_setup_takes_settings_as_options(home, tmp_path, capfd):
    run(
        capfd,
        *("setup", "--program", ACTIVITY, "--no-prompt", "--timezone", "UTC"),
        *("--microphone.source=signal", "--recording.duration", "5"),
        *("--paths.db-metadata", str(tmp_path / "m.db")),
    )
    config = load_config(Settings(home))
    assert config.timezone == "UTC"
    assert config.recording.duration == 5
    assert config.paths.db_metadata == tmp_path / "m.db"
    assert {path.name for path in home.iterdir()} == {
        *("app.py", "bin", "config", "log", "run")
    }


def test_setup_takes_a_configuration_from_standard_input(
    home, tmp_path, capfd, monkeypatch
):
    text = json.dumps(options(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    run(capfd, "setup", "--program", ACTIVITY, "--config", "-")
    assert load_config(Settings(home)).messaging.mqtt.host == "broker.example"


def test_a_second_setup_keeps_what_it_is_not_told(sensor, capfd):
    run(
        capfd,
        *("setup", "--program", ACTIVITY, "--no-prompt", "--recording.duration", "7"),
    )
    config = load_config(sensor)
    assert config.recording.duration == 7
    assert config.messaging.mqtt.password.get_secret_value() == SECRET


def test_setup_asks_for_the_program_and_lists_those_there_are(home):
    result = CliRunner().invoke(cli, ["setup", "--prompt"], input="")
    for name in ("default", "connected", "activity", "custom.test"):
        assert f"acoupi.programs.{name}" in result.output
    assert not home.exists()


def test_a_misspelt_program_is_asked_for_again(home, capfd):
    typed = ["acoupi.programs.defualt", "no/module", "acoupi.programs.default"]
    options = ["--timezone", "UTC", "--microphone.source", "signal"]
    result = CliRunner().invoke(
        cli, ["setup", "--prompt", *options], input="\n".join([*typed, *[""] * 40])
    )
    assert result.exit_code == 0, result.output
    assert "did you mean 'acoupi.programs.default'?" in result.output
    assert "'no/module' is not the dotted name of a module" in result.output
    assert Settings(home).name_file.read_text() == "acoupi.programs.default\n"


def asked_at_setup(*answered: str) -> str:
    command = ["setup", "--prompt", "--program", "acoupi.programs.default"]
    result = CliRunner().invoke(
        cli, [*command, *answered, "--timezone", "UTC"], input="\n" * 40
    )
    assert result.exit_code == 0, result.output
    return result.output


def test_setup_asks_of_a_source_only_what_applies_to_it(home, tmp_path):
    microphone = asked_at_setup("--microphone.source", "microphone")
    signal = asked_at_setup("--microphone.source", "signal")
    folder = asked_at_setup(
        *("--microphone.source", "folder"), *("--microphone.source_path", str(tmp_path))
    )
    assert "microphone.source_" not in microphone
    assert "microphone.source_realtime" in signal
    assert "microphone.source_loop" not in signal
    assert "microphone.source_loop" in folder
    assert "microphone.source_realtime" in folder
    assert "microphone.device_name" in microphone


def test_setup_says_that_services_do_not_see_a_folder_of_the_shell(
    home, tmp_path, capfd, monkeypatch
):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "shell_program.py").write_text(
        "from acoupi.programs.default import DefaultProgram\n"
        "class Mine(DefaultProgram): pass\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    command = ["setup", "--no-prompt", "--microphone.source", "signal", "--program"]

    assert main([*command, "shell_program"]) == 0
    assert f"found through PYTHONPATH in {folder}" in capfd.readouterr().err
    assert main([*command, "acoupi.programs.default"]) == 0
    assert "PYTHONPATH" not in capfd.readouterr().err


def test_setup_remembers_the_broker_without_showing_its_password(home, capfd):
    run(
        capfd,
        *("setup", "--program", ACTIVITY, "--no-prompt", "--microphone.source=signal"),
        *("--broker-url", f"redis://:{SECRET}@broker.example/0"),
    )
    assert "**********@broker.example" in run(capfd, "config", "get", "celery")


def test_config_get_shows_all_or_one_and_masks_secrets(sensor, capfd):
    everything = json.loads(run(capfd, "config", "get"))
    assert everything["timezone"] == "Europe/London"
    assert everything["celery"]["broker_url"] is None
    assert set(everything["messaging"]["mqtt"]["password"]) == {"*"}
    assert run(capfd, "config", "get", "microphone.samplerate") == "48000\n"
    assert run(capfd, "config", "get", "timezone", "--json") == '"Europe/London"\n'


def test_config_set_changes_one_setting_and_keeps_the_rest(sensor, capfd):
    before = json.loads(sensor.program_file.read_text())
    run(capfd, "config", "set", "recording.duration", "9")
    after = json.loads(sensor.program_file.read_text())
    assert after["recording"].pop("duration") == 9
    before["recording"].pop("duration")
    assert after == before
    run(capfd, "config", "set", "celery.log_level", "DEBUG")
    assert json.loads(sensor.celery_file.read_text())["log_level"] == "DEBUG"
    run(capfd, "config", "set", "messaging.mqtt", "null")
    assert load_config(sensor).messaging.mqtt is None


def test_several_settings_are_set_together_or_not_at_all(sensor, tmp_path, capfd):
    pairs = ["microphone.source=folder", f"microphone.source_path={tmp_path}"]
    out = run(capfd, "config", "set", *pairs, "celery.log_level=DEBUG")
    assert "microphone.source, microphone.source_path, celery.log_level are set" in out
    assert load_config(sensor).microphone.source_path == tmp_path
    assert json.loads(sensor.celery_file.read_text())["log_level"] == "DEBUG"

    before = sensor.program_file.read_bytes(), sensor.celery_file.read_bytes()
    assert main(["config", "set", "timezone=UTC", "recording.duratoin=1", "x=2"]) == 2
    error = capfd.readouterr().err
    assert "recording.duratoin: no such setting" in error
    assert "x: no such setting" in error
    assert (sensor.program_file.read_bytes(), sensor.celery_file.read_bytes()) == before
    assert main(["config", "set", f"messaging.mqtt.password={SECRET}"]) == 2
    assert SECRET not in capfd.readouterr().err


def test_config_unset_gives_settings_their_defaults_again(sensor, capfd):
    run(capfd, "config", "set", "recording.duration=9", "celery.log_level=DEBUG")
    keys = ["recording.duration", "celery.log_level", "messaging.mqtt"]
    run(capfd, "config", "unset", *keys)
    config = load_config(sensor)
    assert config.recording.duration == 3
    assert config.messaging.mqtt is None
    assert run(capfd, "config", "get", "celery.log_level") == "INFO\n"
    # Below a group that is off there is nothing to unset.
    run(capfd, "config", "unset", "messaging.mqtt.port")
    assert load_config(sensor).messaging.mqtt is None


def test_config_set_reads_a_secret_from_standard_input_into_a_private_file(
    sensor, capfd, monkeypatch
):
    monkeypatch.setattr(sys, "stdin", io.StringIO("new-secret\n"))
    out = run(capfd, "config", "set", "messaging.mqtt.password", "-")
    assert "new-secret" not in out
    password = load_config(sensor).messaging.mqtt.password
    assert password.get_secret_value() == "new-secret"
    assert stat.S_IMODE(sensor.program_file.stat().st_mode) == 0o600


def test_config_set_asks_for_a_secret_without_echo(sensor):
    result = CliRunner().invoke(
        cli, ["config", "set", "messaging.mqtt.password"], input="typed-secret\n"
    )
    assert result.exit_code == 0
    assert "typed-secret" not in result.output
    password = load_config(sensor).messaging.mqtt.password
    assert password.get_secret_value() == "typed-secret"


def test_a_misspelt_setting_is_shown_as_it_was_typed(sensor, capfd):
    assert main(["config", "set", "microphone.sampelrate", "3"]) == 2
    error = capfd.readouterr().err
    assert (
        "  microphone.sampelrate: no such setting; did you mean "
        "microphone.samplerate?\n" in error
    )
    assert "--" not in error


@pytest.fixture
def editor(tmp_path, monkeypatch):
    def use(expression: str) -> None:
        script = tmp_path / "editor"
        script.write_text(f'#!/bin/sh\nsed -i "{expression}" "$1"\n')
        script.chmod(0o755)
        monkeypatch.setenv("VISUAL", str(script))

    return use


def test_config_edit_stores_what_is_valid(sensor, capfd, editor):
    editor("s|Europe/London|Europe/Paris|")
    run(capfd, "config", "edit")
    assert load_config(sensor).timezone == "Europe/Paris"
    editor("s|nothing like this||")
    assert "Nothing was changed" in run(capfd, "config", "edit")


def test_config_edit_keeps_the_former_when_the_new_is_not_valid(sensor, capfd, editor):
    before = sensor.program_file.read_bytes()
    for expression in ("s|Europe/London|Nowhere|", "1s|{|(|"):
        editor(expression)
        assert main(["config", "edit"]) == 2
        assert "unchanged" in capfd.readouterr().err
        assert sensor.program_file.read_bytes() == before


def test_config_schema_is_a_json_schema(sensor, capfd):
    schema = json.loads(run(capfd, "config", "schema"))
    assert "microphone" in schema["properties"]
    other = json.loads(
        run(capfd, "config", "schema", "--program", "acoupi.programs.default")
    )
    assert "detections" not in other["properties"]
    celery = json.loads(run(capfd, "config", "schema", "--celery"))
    assert "broker_url" in celery["properties"]


def test_config_validate_lists_all_problems_as_json(sensor, tmp_path, capfd):
    assert json.loads(run(capfd, "config", "validate", "--json"))["valid"] is True
    file = tmp_path / "new.json"
    file.write_text('{"timezone": "X", "microphone": {"samplerate": "y"}}')
    report = json.loads(run(capfd, "config", "validate", str(file), "--json", code=2))
    keys = {problem["key"] for problem in report["problems"]}
    assert keys == {"timezone", "microphone.samplerate"}


def test_a_deployment_has_a_name_a_place_and_an_end(sensor, capfd):
    out = run(
        capfd,
        *("deployment", "start", "wood"),
        *("--latitude", "51.5", "--longitude", "-0.25"),
    )
    assert "51.50000 N, 0.25000 W" in out
    state = json.loads(run(capfd, "deployment", "status", "--json"))
    assert (state["latitude"], state["ended_on"]) == (51.5, None)
    run(capfd, "deployment", "end")
    assert json.loads(run(capfd, "deployment", "status", "--json"))["ended_on"]
    assert "Ended: wood" in run(capfd, "deployment", "status")


def test_a_deployment_is_asked_for_when_it_is_not_given(sensor):
    result = CliRunner().invoke(
        cli, ["deployment", "start"], input="field\nfar north\n69.6\n18.9\n"
    )
    assert result.exit_code == 0, result.output
    assert "'far north' is not a number" in result.output
    assert "69.60000 N, 18.90000 E" in result.output


def test_the_schedule_shows_each_night_over_midnight_and_a_clock_change(sensor, capfd):
    out = json.loads(
        run(
            capfd,
            *("schedule", "preview", "--from", "2026-10-23T12:00", "--days", "3"),
            "--json",
        )
    )
    assert out["timezone"] == "Europe/London"
    assert [window["start"] for window in out["windows"]] == [
        "2026-10-23T22:00:00+01:00",
        "2026-10-24T22:00:00+01:00",
        "2026-10-25T22:00:00+00:00",
    ]
    assert out["windows"][1]["end"] == "2026-10-25T06:00:00+00:00"
    text = run(capfd, "schedule", "preview", "--from", "2026-10-23", "--days", "1")
    assert "Fri 2026-10-23 22:00:00 to Sat 00:00:00" in text


def test_the_schedule_tells_the_share_of_sound_that_is_recorded(sensor, capfd):
    run(capfd, "config", "set", "recording.schedule_start", "06:00")
    shown = run(capfd, "schedule", "preview", "--days", "1")
    assert "Awake for 24.0 h, 100% of the time" in shown
    assert "of every 10 s then, 3 s are recorded: 7.2 h of sound, 30%" in shown
    assert "coordinates" not in shown
    as_json = json.loads(run(capfd, "schedule", "preview", "--json"))
    assert as_json["recorded_share"] == 0.3
    run(capfd, "config", "set", "recording.interval", "3")
    shown = run(capfd, "schedule", "preview", "--days", "1")
    assert "Records 24.0 h, 100% of the time.\n" in shown


DAWN = """
from acoupi.components import DawnTimeInterval
from acoupi.programs.default import DefaultConfiguration, DefaultProgram

class Dawn(DefaultProgram):
    def get_recording_conditions(self, config):
        return [DawnTimeInterval(duration=30, timezone=config.timezone)]
"""


def test_the_schedule_says_which_place_stands_in_for_coordinates(
    home, tmp_path, capfd, monkeypatch
):
    (tmp_path / "dawn_program.py").write_text(DAWN)
    monkeypatch.syspath_prepend(tmp_path)
    setup = ("setup", "--program", "dawn_program", "--no-prompt")
    run(capfd, *setup, "--microphone.source=signal", "--timezone=Europe/Paris")
    assert main(["schedule", "preview"]) == 0
    shown = capfd.readouterr()
    assert shown.out.count("reference place of the time zone Europe/Paris") == 1
    assert shown.err == ""
    run(
        capfd,
        *["deployment", "start", "meadow", "--latitude", "48", "--longitude", "2"],
    )
    assert "stand" not in run(capfd, "schedule", "preview")
    assert json.loads(run(capfd, "schedule", "preview", "--json"))["notes"] == []


def test_tasks_are_listed_with_queue_and_schedule(sensor, capfd):
    tasks = {
        task["name"]: task for task in json.loads(run(capfd, "task", "list", "--json"))
    }
    assert tasks["detection_task"]["queue"] == "detection"
    assert tasks["detection_task"]["schedule"] is None
    assert tasks["file_management_task"]["schedule"].startswith("every ")
    assert "recording_task" in run(capfd, "task", "list")


def test_each_shipped_task_says_what_it_does(sensor, capfd):
    tasks = json.loads(run(capfd, "task", "list", "--json"))
    assert {task["name"] for task in tasks} >= {
        *("recording_task", "detection_task", "file_management_task"),
        *("send_messages_task", "heartbeat_task", "reconcile_task"),
    }
    assert [task["name"] for task in tasks if not task["help"]] == []


def test_a_task_runs_here_when_asked(sensor, capfd):
    out = run(capfd, "task", "run", "file_management_task", "--here", "--json")
    assert json.loads(out)["ran"] is True


def test_status_and_check_of_a_sensor_that_does_not_run(sensor, capfd):
    assert "not running" in run(capfd, "status")
    found = json.loads(run(capfd, "status", "--json"))
    assert found["running"] is False
    assert found["program"] == ACTIVITY


def test_check_runs_a_sensor_for_a_while_when_asked(sensor, capfd, monkeypatch):
    from acoupi.programs.custom.test import Finding
    from acoupi.system import selftest

    asked = []

    def run_selftest(microphone, *, seconds):
        asked.append((microphone["source"], seconds))
        return [
            Finding(step="recording", works=True),
            Finding(step="keeping", works=False, detail="the disk is full"),
        ]

    monkeypatch.setattr(selftest, "run_selftest", run_selftest)
    run(capfd, "config", "set", "messaging.mqtt", "null")
    shown = run(capfd, "check", "--run", "7", code=1)
    assert re.search(r"ok +run: recording", shown)
    assert re.search(r"FAIL +run: keeping +the disk is full", shown)
    found = json.loads(run(capfd, "check", "--run", "--json", code=1))
    assert found["checks"][-1]["message"] == "the disk is full"
    assert asked == [("signal", 7), ("signal", 40)]
    run(capfd, "config", "set", "microphone.source_path", "/nowhere")
    run(capfd, "config", "set", "microphone.source", "folder")
    shown = run(capfd, "check", "--run", code=1)
    assert re.search(r"-- +run +correct what failed first", shown)


@pytest.fixture
def sounds(tmp_path):
    from acoupi.audio.guano import Guano
    from acoupi.audio.scene import SignalSource
    from acoupi.audio.soundfiles import WavWriter

    folder = tmp_path / "sounds"
    folder.mkdir()
    source = SignalSource(48_000, realtime=False)
    stream = source.open()
    blocks, frames = [], 0
    for block in stream._blocks:
        blocks.append(bytes(block))
        frames += len(blocks[-1]) // stream.format.frame_size
        if frames >= 48_000 * 8:
            break
    for name in ("20260501_040000.wav", "b.wav"):
        writer = WavWriter(folder / name, stream.format, frames, Guano())
        for block in blocks:
            writer.write(block)
        writer.finish()
    (folder / "broken.wav").write_text("no sound")
    return folder


def test_detect_names_all_missing_paths_and_goes_on_with_the_rest(home, sounds, capfd):
    missing = [str(sounds / "no.wav"), str(sounds / "none")]
    good = str(sounds / "b.wav")
    command = ["detect", "--program", ACTIVITY, missing[0], good, missing[1]]
    assert main([*command, "--json"]) == 1
    shown = capfd.readouterr()
    assert [entry["file"] for entry in json.loads(shown.out)] == [good]
    for path in missing:
        assert f"there is no file or folder {path}" in shown.err
    assert "2 of 3 files failed" in shown.err


def test_detect_writes_a_table_csv_and_json_of_the_same_and_names_what_failed(
    home, sounds, tmp_path, capfd, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = ["detect", "--program", ACTIVITY, str(sounds)]
    assert main([*command, "--json"]) == 1
    shown = capfd.readouterr()
    assert "broken.wav" in shown.err
    assert "1 of 3 files failed" in shown.err
    assert "Traceback" not in shown.err
    entries = json.loads(shown.out)
    assert [Path(entry["file"]).name for entry in entries] == [
        "20260501_040000.wav",
        "b.wav",
    ]
    assert entries[0]["recorded_on"] == "2026-05-01T04:00:00+00:00"
    found = [one for entry in entries for one in entry["detections"]]
    assert found
    starts = [one["start_s"] for one in entries[0]["detections"]]
    assert starts == sorted(starts)

    assert main([*command, "--format", "csv", "-o", "out.csv"]) == 1
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(found)
    assert float(rows[0]["score"]) == found[0]["score"]
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o644
    capfd.readouterr()

    assert main(command) == 1
    assert f"{len(found)} detections in 2 files" in capfd.readouterr().out
    assert main([*command, "--threshold", "1"]) == 1
    assert "0 detections in 2 files" in capfd.readouterr().out
    assert not home.exists(), "looking at files makes nothing"


def test_detect_uses_what_is_set_up_and_stores_nothing(sensor, sounds, tmp_path, capfd):
    (sounds / "broken.wav").unlink()
    before = sorted(path for path in tmp_path.rglob("*"))
    run(capfd, "detect", str(sounds / "b.wav"))
    assert sorted(path for path in tmp_path.rglob("*")) == before


MODELS = """
from acoupi.programs.activity import ActivityProgram

class Asking(ActivityProgram):
    def configure_model(self, config):
        self.logger.info("%s %s", self.app.main, sorted(self.tasks))
        assert self.run_dir is None
        return super().configure_model(config)

    def get_output_cleaners(self, config):
        assert self.model.name == "activity"
        return super().get_output_cleaners(config)
"""
NEEDS_SETUP = """
from acoupi.programs.activity import ActivityProgram

class Needing(ActivityProgram):
    def setup(self, config):
        self.labels = ["a"]
        super().setup(config)

    def configure_model(self, config):
        assert self.labels
        return super().configure_model(config)
"""
BROKEN = """
from acoupi.programs.activity import ActivityProgram

class Broken(ActivityProgram):
    def configure_model(self, config):
        return None.weights
"""


@pytest.mark.parametrize("source", [MODELS, NEEDS_SETUP])
def test_detect_gives_a_model_what_it_may_read_of_its_program(
    home, sounds, tmp_path, capfd, monkeypatch, source
):
    (tmp_path / "asking_program.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "asking_program", raising=False)
    out = run(capfd, "detect", "--program", "asking_program", str(sounds / "b.wav"))
    assert re.search("[1-9] detections in 1 file", out)
    monkeypatch.delitem(sys.modules, "asking_program")


def test_detect_shows_a_model_s_own_mistake(home, sounds, tmp_path, capfd, monkeypatch):
    (tmp_path / "broken_program.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(tmp_path)
    file = str(sounds / "b.wav")
    assert main(["detect", "--program", "broken_program", file]) == 1
    assert "'NoneType' object has no attribute 'weights'" in capfd.readouterr().err


def test_catalogue_and_render_make_the_same_home_as_setup(
    sensor, home, tmp_path, capfd
):
    described = json.loads(run(capfd, "catalogue"))
    assert ACTIVITY in described["programs"]
    assert run(capfd, "catalogue") == run(capfd, "catalogue")
    target = tmp_path / "rendered"
    run(
        capfd,
        *("render", str(target), "--program", ACTIVITY, "--home", str(home)),
        *("--config", str(sensor.program_file), "--celery", str(sensor.celery_file)),
        *("--managed-by", "a test"),
    )
    for file in sorted(path for path in target.rglob("*") if path.is_file()):
        name = file.relative_to(target)
        if str(name) != "config/managed":
            assert file.read_bytes() == (home / name).read_bytes(), name


def test_devices_lists_microphones_or_says_what_to_do(home, capfd):
    listed = json.loads(run(capfd, "devices", "--json"))
    assert isinstance(listed, list)
    text = run(capfd, "devices", "--no-probe")
    assert re.search("IDENTITY|There is no microphone", text)


def test_devices_lists_a_microphone_that_is_in_use(home, capfd, monkeypatch):
    from acoupi.audio.devices import Microphone
    from acoupi.system.doctor.cards import CaptureDevice

    free = Microphone("card:Mic", "Mic (hw:1,0)", 0, 2, (48_000,), 48_000, "ALSA")
    node = Path("/dev/snd/pcmC2D0c")
    busy = CaptureDevice(2, 0, "usb:1:2-3", "UltraMic (hw:2,0)", node, 4711, "")
    monkeypatch.setattr(
        "acoupi.system.listening.look_for_microphones", lambda **_: [free]
    )
    monkeypatch.setattr(
        "acoupi.system.doctor.cards.list_capture_devices", lambda _: [busy]
    )
    listed = json.loads(run(capfd, "devices", "--json"))
    assert {one["identity"]: one["in_use_by"] for one in listed} == {
        "card:Mic": None,
        "usb:1:2-3": 4711,
    }
    assert "process 4711" in run(capfd, "devices")


def test_run_with_a_program_sets_it_up_once_by_its_options(home, capfd, monkeypatch):
    from acoupi.system import foreground

    ran = []
    monkeypatch.setattr(
        foreground,
        "run_in_foreground",
        lambda settings, layout, **_: ran.append((settings.home, layout)),
    )
    program = "acoupi.programs.default"
    run(capfd, "run", "--program", program, "--microphone.source", "signal", "-q")
    assert load_config(Settings(home)).microphone.source == "signal"
    run(capfd, "run", "--program", program)
    run(capfd, "run")
    assert ran == [(home, "compact")] * 3


def test_the_shell_completes_commands_and_options(home):
    from click.shell_completion import BashComplete

    complete = BashComplete(cli, {}, "acoupi", "_ACOUPI_COMPLETE")
    assert {"start", "status", "stop"} == {
        item.value for item in complete.get_completions([], "st")
    }
    assert "--json" in {
        item.value for item in complete.get_completions(["status"], "--")
    }
    assert os.environ["ACOUPI_HOME"] == str(home)
