"""The support bundle has what helps, and none of the secrets."""

from __future__ import annotations

import base64
import json
import logging
import sqlite3
import stat
import tarfile
from urllib.parse import quote

import pytest
from configurations import paths_below

from acoupi.cli import main
from acoupi.errors import ConfigurationError
from acoupi.system import Settings, setup_program
from acoupi.system.support_bundle import (
    archive,
    bundle,
    observations,
    write_support_bundle,
)

# Other tests may keep the machine busy.
pytestmark = pytest.mark.timeout(600)

CANARIES = {
    "http password": "canary-http-pässwörd\\1\"'x",
    "http token": "canary-http-token-2",
    "broker password": "canary broker & password/4",
    "header": "canary-header-5",
    "query": "canary-query-6",
    "password file": "canary-file-7",
    "private key": "canaryprivatekeyline8canary",
    "environment": "canary-environment-9",
    "credential": "canary-credential-10",
    "vault": "canary-vault-11",
    "short": "Zq9",
}


@pytest.fixture
def sensor(tmp_path, monkeypatch):
    """A home with a canary wherever a secret can be, and with logs that tell them."""
    home = tmp_path / "home"
    monkeypatch.setenv("ACOUPI_HOME", str(home))
    monkeypatch.setenv("FLEET_API_KEY", CANARIES["environment"])
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "spare").write_text(CANARIES["credential"])
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    (tmp_path / "http-password").write_text(CANARIES["http password"] + "\n")
    (tmp_path / "key.pem").write_text(
        "-----BEGIN EC PRIVATE KEY-----\n"
        f"{CANARIES['private key']}\n"
        "-----END EC PRIVATE KEY-----\n"
    )
    (tmp_path / "mqtt-password").write_text(CANARIES["password file"] + "\n")
    settings = Settings(home)
    setup_program(
        settings,
        "acoupi.programs.activity",
        {
            "microphone": {"source": "signal"},
            "paths": paths_below(tmp_path),
            "messaging": {
                "messages_db": str(tmp_path / "sensor.db"),
                "http": {
                    "base_url": f"https://h.example.org/x?key={CANARIES['query']}",
                    "headers": {"X-Api-Key": CANARIES["header"]},
                    "token": CANARIES["http token"],
                    "password": CANARIES["http password"],
                    "tls_cert_file": str(tmp_path / "key.pem"),
                    "tls_key_file": str(tmp_path / "key.pem"),
                },
                "mqtt": {
                    "host": "m.example.org",
                    "username": "wood",
                    "password_file": str(tmp_path / "mqtt-password"),
                },
            },
        },
        {
            "broker_url": "redis://user:"
            + quote(CANARIES["broker password"], safe="")
            + "@broker.example.org/0"
        },
    )
    vault = home / "provision"
    vault.mkdir()
    (vault / "secrets.json").write_text(json.dumps({"wifi": CANARIES["vault"]}))
    settings.log_dir.mkdir(exist_ok=True)
    lines = []
    for canary in CANARIES.values():
        if len(canary) > 3:
            lines += [
                f"plain {canary} here",
                f"quoted {quote(canary, safe='')} here",
                json.dumps({"payload": canary}),
                repr({"payload": canary}),
                "Authorization: Basic "
                + base64.b64encode(f"wood:{canary}".encode()).decode(),
                "blob " + base64.b64encode(f"ab{canary}cd".encode()).decode(),
            ]
    (settings.log_dir / "worker-default.log").write_text("\n".join(lines) + "\n")
    (settings.run_dir).mkdir(exist_ok=True)
    (settings.run_dir / "recorder.json").write_text(
        json.dumps({"problems": [f"token={CANARIES['http token']}"]})
    )
    return settings


@pytest.fixture(autouse=True)
def _no_machine(request, monkeypatch):
    """Leave the machine's own slow commands out where they do not matter."""
    if "whole" not in request.node.name:
        monkeypatch.setattr(bundle, "_machine", lambda: "")
        monkeypatch.setattr(
            bundle, "acoupi_command", lambda home, *words, **_: f"{words}\n"
        )


def unpack(path):
    with tarfile.open(path) as tar:
        return {
            member.name.partition("/")[2]: tar.extractfile(member).read().decode()
            for member in tar.getmembers()
        }


def forms(canary):
    yield canary
    yield quote(canary, safe="")
    yield json.dumps(canary)[1:-1]
    encoded = canary.encode()
    yield base64.b64encode(encoded).decode().rstrip("=")[:-2]


def leaks(texts):
    return [
        (name, kind)
        for name, text in texts.items()
        for kind, canary in CANARIES.items()
        for form in forms(canary)
        if len(form) > 3 and form in text
    ]


def test_a_whole_bundle_has_no_secret(sensor, tmp_path):
    made = write_support_bundle(sensor, tmp_path / "bundle.tar.gz")

    texts = unpack(made.path)

    assert leaks(texts) == []
    assert "canary" not in "".join(texts.values())
    assert {"status.json", "doctor.json", "versions.json", "README.txt"} <= set(texts)
    assert {"config/program.json", "config/celery.json", "databases.json"} <= set(texts)
    assert json.loads(texts["status.json"])["program"] == "acoupi.programs.activity"
    assert "acoupi_recording 0" in texts["metrics.txt"]
    assert "MemTotal" in texts["machine.txt"]
    # What is not secret is there to be read.
    program = json.loads(texts["config/program.json"])
    assert program["messaging"]["mqtt"]["host"] == "m.example.org"
    assert program["messaging"]["mqtt"]["password_file"].endswith("mqtt-password")
    assert program["messaging"]["http"]["token"] == "*" * 10
    assert "here" in texts["log/worker-default.log"]
    assert "broker.example.org" in texts["config/celery.json"]


def test_a_secret_too_short_to_be_looked_for_is_masked_where_it_is_configured(
    sensor, tmp_path
):
    file = sensor.program_file
    config = json.loads(file.read_text())
    config["messaging"]["mqtt"]["password"] = CANARIES["short"]
    del config["messaging"]["mqtt"]["password_file"]
    file.write_text(json.dumps(config))

    made = write_support_bundle(sensor, tmp_path / "bundle.tar.gz")

    assert CANARIES["short"] not in "".join(unpack(made.path).values())


def test_the_name_of_a_credential_is_shown_and_masked_nowhere(sensor, tmp_path):
    file = sensor.program_file
    config = json.loads(file.read_text())
    config["messaging"]["mqtt"]["password"] = {"_secret": "mqtt"}
    del config["messaging"]["mqtt"]["password_file"]
    file.write_text(json.dumps(config))

    made = write_support_bundle(sensor, tmp_path / "bundle.tar.gz")

    shown = json.loads(unpack(made.path)["config/program.json"])
    assert shown["messaging"]["mqtt"]["password"] == {"_secret": "mqtt"}


@pytest.mark.parametrize("fault", ["missing", "raises", "exits"])
def test_without_the_programs_schema_only_what_is_known_to_be_harmless_is_shown(
    sensor, tmp_path, monkeypatch, fault
):
    package = tmp_path / "packages"
    package.mkdir()
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("PYTHONPATH", str(package))
    if fault != "missing":
        end = {"raises": "raise RuntimeError('no')", "exits": "import os; os._exit(3)"}
        (package / "strange_program.py").write_text(end[fault])
    sensor.name_file.write_text("strange_program\n")
    config = json.loads(sensor.program_file.read_text())
    config["hut"] = {"door": "canary-of-the-program", "number": 7919}
    sensor.program_file.write_text(json.dumps(config))

    made = write_support_bundle(sensor, tmp_path / "bundle.tar.gz")

    texts = unpack(made.path)
    assert "canary" not in texts["config/program.json"]
    assert "7919" not in texts["config/program.json"]
    assert "m.example.org" in texts["config/program.json"]
    assert "could not be asked" in texts["README.txt"]
    assert leaks(texts) == []


def test_the_schema_of_the_program_says_what_is_secret(sensor, tmp_path, monkeypatch):
    package = tmp_path / "packages"
    package.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(package))
    (package / "hut_program.py").write_text(
        """
from pydantic import BaseModel, SecretStr
from acoupi.programs import AcoupiProgram

class Config(BaseModel):
    door: SecretStr = SecretStr("x")
    colour: str = "red"

class Program(AcoupiProgram[Config]):
    config_schema = Config
    def setup(self, config):
        pass

print("noise of an import")
"""
    )
    sensor.name_file.write_text("hut_program\n")
    sensor.program_file.write_text(
        json.dumps({"door": "canary-of-the-program", "colour": "green"})
    )
    (sensor.log_dir / "more.log").write_text("the door is canary-of-the-program\n")

    texts = unpack(write_support_bundle(sensor, tmp_path / "b.tar.gz").path)

    assert "canary-of-the-program" not in "".join(texts.values())
    assert "green" in texts["config/program.json"]


def test_the_file_is_for_its_owner_only_and_nothing_is_left_beside(sensor, tmp_path):
    place = tmp_path / "out"
    place.mkdir()

    made = write_support_bundle(sensor, place / "bundle.tar.gz")

    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert list(place.iterdir()) == [made.path]
    assert made.size == made.path.stat().st_size


def test_a_file_that_is_there_is_left_alone(sensor, tmp_path):
    there = tmp_path / "precious"
    there.write_text("precious")

    with pytest.raises(ConfigurationError, match="another file"):
        write_support_bundle(sensor, there)

    assert there.read_text() == "precious"
    with pytest.raises(ConfigurationError, match="not a directory"):
        write_support_bundle(sensor, tmp_path / "nowhere" / "b.tar.gz")


def test_a_disk_that_is_full_leaves_nothing(sensor, tmp_path, monkeypatch, capsys):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("acoupi.system.files.os.fsync", full)
    place = tmp_path / "out"
    place.mkdir()

    assert main(["support-bundle", "-o", str(place / "b.tar.gz")]) == 1

    assert list(place.iterdir()) == []
    assert "No space left" in capsys.readouterr().err


def test_logs_of_any_length_stay_within_bounds(sensor, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_ARCHIVE", 400_000)
    for number in range(20):
        (sensor.log_dir / f"w{number}.log").write_text(
            f"first\n{CANARIES['http token']} of {number}\n" * 40_000 + "the end\n"
        )

    made = write_support_bundle(sensor, tmp_path / "b.tar.gz")

    texts = unpack(made.path)
    assert sum(map(len, texts.values())) < 450_000
    assert leaks(texts) == []
    assert "the bundle is full" in "".join(texts.values())


def test_a_part_that_fails_or_hangs_does_not_cost_the_others(
    sensor, tmp_path, monkeypatch
):
    monkeypatch.setattr(observations, "PATIENCE", 0.2)

    def fail():
        raise RuntimeError("of the machine")

    monkeypatch.setattr(bundle, "_sound", fail)
    monkeypatch.setattr(
        bundle, "_machine", lambda: observations.command_output(["sleep", "9"], 0.2)
    )

    texts = unpack(write_support_bundle(sensor, tmp_path / "b.tar.gz").path)

    assert "RuntimeError: of the machine" in texts["sound.txt"]
    assert "not done within 0.2 s" in texts["machine.txt"]
    assert "config/program.json" in texts


def test_databases_are_described_without_their_rows(sensor, tmp_path):
    with sqlite3.connect(tmp_path / "sensor.db") as connection:
        connection.execute("CREATE TABLE thing (name TEXT)")
        connection.execute("INSERT INTO thing VALUES ('a-row-of-the-store')")
    connection.close()

    texts = unpack(write_support_bundle(sensor, tmp_path / "b.tar.gz").path)

    (found,) = json.loads(texts["databases.json"])
    assert found["rows"] == {"thing": 1}
    assert found["quick_check"] == ["ok"]
    assert "a-row-of-the-store" not in "".join(texts.values())


@pytest.mark.parametrize("state", ["nothing", "broken"])
def test_a_home_that_is_not_set_up_is_described_too(tmp_path, state):
    settings = Settings(tmp_path / "home")
    if state == "broken":
        settings.config_dir.mkdir(parents=True)
        settings.program_file.write_text('{"password": "canary-broken')
        settings.name_file.write_text("")

    texts = unpack(write_support_bundle(settings, tmp_path / "b.tar.gz").path)

    assert "canary" not in "".join(texts.values())
    assert "versions.json" in texts


def test_nothing_of_the_sensor_is_changed(sensor, tmp_path):
    root = sensor.home
    before = {p: (p.lstat().st_mtime_ns, p.lstat().st_mode) for p in root.rglob("*")}

    write_support_bundle(sensor, tmp_path / "b.tar.gz")

    after = {p: (p.lstat().st_mtime_ns, p.lstat().st_mode) for p in root.rglob("*")}
    assert after == before


def test_a_pipe_among_the_logs_is_not_waited_for(sensor, tmp_path):
    import os

    os.mkfifo(sensor.log_dir / "trap.log")

    texts = unpack(write_support_bundle(sensor, tmp_path / "b.tar.gz").path)

    assert "not a regular file" in texts["log/trap.log"]


def test_the_command_says_where_it_is(sensor, tmp_path, capsys, caplog):
    caplog.set_level(logging.DEBUG)

    assert main(["support-bundle", "-o", str(tmp_path / "b.tar.gz")]) == 0

    out = capsys.readouterr()
    assert str(tmp_path / "b.tar.gz") in out.out
    assert "masked" in out.out
    assert "canary" not in out.out + out.err + caplog.text
