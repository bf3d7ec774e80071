"""Builders learn of programs, and render homes, without anything running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acoupi.errors import ConfigurationError
from acoupi.programs import AcoupiWorker
from acoupi.system import Settings, load_config
from acoupi.system.catalogue import capabilities_of, catalogue, render
from acoupi.system.configuration import load_celery_config
from acoupi.system.validation import InvalidConfigurationError

CONNECTED = "acoupi.programs.connected"
SECRET = {"messaging": {"mqtt": {"host": "h", "password": {"_secret": "mqtt"}}}}


def config(**more: object) -> dict[str, object]:
    return {"microphone": {"device_name": "usb"}, **more}


def test_the_catalogue_describes_every_program_that_ships():
    programs = catalogue()["programs"]
    assert "acoupi.programs.default" in programs
    assert "acoupi.programs.activity" in programs
    assert list(programs) == sorted(programs)
    described = programs[CONNECTED]
    assert described["secrets"] == [
        key for key in described["secrets"] if key.startswith("messaging.")
    ]
    assert "messaging.mqtt.password" in described["secrets"]
    assert [worker["name"] for worker in described["workers"]] == [
        "recording",
        "default",
    ]
    assert described["schema"]["properties"]["microphone"]


def test_the_catalogue_is_plain_data_and_the_same_every_time():
    code = (
        "import json; from acoupi.system.catalogue import catalogue; "
        "print(json.dumps(catalogue(), sort_keys=True))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "ACOUPI_HOME": f"/x{seed}"},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert json.loads(texts.pop())["version"] == 1


def test_catalogue_and_render_load_no_numerical_library(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from acoupi.system.catalogue import catalogue, render\n"
        "catalogue()\n"
        f"render(Path({str(tmp_path / 'out')!r}), 'acoupi.programs.activity', "
        "{'microphone': {}})\n"
        "heavy = {'numpy', 'soundfile', 'sounddevice', 'onnxruntime', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (
            {"recording": ["recording"], "default": ["celery"]},
            {"recording": ["audio"], "default": ["model", "network"]},
        ),
        (
            {"r": ["recording"], "d": ["detection"], "c": []},
            {"r": ["audio"], "d": ["model", "network"], "c": ["network"]},
        ),
        ({"acoupi": []}, {"acoupi": ["audio", "model", "network"]}),
    ],
)
def test_capabilities_follow_from_the_queues(workers, expected):
    made = [AcoupiWorker(name=name, queues=queues) for name, queues in workers.items()]
    assert {worker.name: capabilities_of(worker, made) for worker in made} == expected


def test_a_home_is_rendered_for_where_it_will_be(tmp_path):
    out = tmp_path / "out"
    render(
        out,
        CONNECTED,
        config(**SECRET),
        home=Path("/var/lib/acoupi"),
        python=Path("/nix/python"),
        managed_by="services.acoupi",
    )
    text = (out / "bin/acoupi-workers-start.sh").read_text()
    assert "readonly home=/var/lib/acoupi" in text
    assert "readonly python=/nix/python" in text
    assert str(tmp_path) not in "".join(
        path.read_text() for path in out.rglob("*") if path.is_file()
    )
    assert (out / "config/managed").read_text() == "services.acoupi\n"
    assert not (out / "log").exists()


def test_references_to_credentials_are_kept_and_resolved_when_loaded(
    tmp_path, monkeypatch
):
    render(tmp_path / "out", CONNECTED, config(**SECRET), literal_secrets=False)
    stored = json.loads((tmp_path / "out/config/program.json").read_text())
    assert stored["messaging"]["mqtt"]["password"] == {"_secret": "mqtt"}
    (tmp_path / "mqtt").write_text("hunter2\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    loaded = load_config(Settings(tmp_path / "out"))
    assert loaded.messaging.mqtt.password.get_secret_value() == "hunter2"


def test_a_secret_written_out_is_refused_where_it_would_be_public(tmp_path):
    literal = {"messaging": {"mqtt": {"host": "h", "password": "hunter2"}}}
    with pytest.raises(InvalidConfigurationError) as caught:
        render(tmp_path / "out", CONNECTED, config(**literal), literal_secrets=False)
    assert "messaging.mqtt.password" in str(caught.value)
    assert '{"_secret": "NAME"}' in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_errors_read_as_the_option_of_whoever_manages_the_configuration(tmp_path):
    with pytest.raises(InvalidConfigurationError) as caught:
        render(
            tmp_path / "out",
            CONNECTED,
            config(recording={"duraton": 3, "interval": -1}),
            key_prefix="services.acoupi.settings",
        )
    text = str(caught.value)
    assert "services.acoupi.settings.recording.duraton: no such setting" in text
    assert "services.acoupi.settings.recording.interval = -1" in text
    assert not (tmp_path / "out").exists()


def test_every_mistake_is_told_at_once_under_the_option_that_has_it(tmp_path):
    with pytest.raises(InvalidConfigurationError) as caught:
        render(
            tmp_path / "out",
            CONNECTED,
            config(recording={"interval": -1}),
            {"pol": "threads", "broker_url": "ftp://here"},
            key_prefix="services.acoupi.settings",
            celery_key_prefix="services.acoupi.celery",
        )
    text = str(caught.value)
    assert "services.acoupi.settings.recording.interval = -1" in text
    assert "services.acoupi.celery.pol: no such setting; did you mean 'pool'?" in text
    assert "services.acoupi.celery.broker_url" in text
    assert "settings.pol" not in text


def test_the_broker_can_be_a_credential(tmp_path, monkeypatch):
    out = tmp_path / "out"
    render(out, CONNECTED, config(), {"broker_url": {"_secret": "broker"}})
    stored = json.loads((out / "config/celery.json").read_text())
    assert stored["broker_url"] == {"_secret": "broker"}
    # It is not ours: no server is started for it.
    assert "broker.sock" not in (out / "bin/acoupi-workers-start.sh").read_text()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "broker").write_text("rediss://user:word@queue.example.org/0\n")
    loaded = load_celery_config(Settings(out))
    assert loaded.broker_url == "rediss://user:word@queue.example.org/0"
    (tmp_path / "broker").write_text("hunter2\n")
    with pytest.raises(InvalidConfigurationError, match="must start with") as caught:
        load_celery_config(Settings(out))
    assert "hunter2" not in str(caught.value)


def test_a_target_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigurationError, match="in the way"):
        render(tmp_path, CONNECTED, config())
    assert (tmp_path / "file").read_text() == "mine"
