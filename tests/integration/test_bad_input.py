"""Mistakes, seeded one at a time: each is named with the way out, and harms nothing.

Every case gives the exit code and what the message must name. For all of them: no
traceback, nothing on standard output, the home byte for byte as it was, and nothing
left beside it.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from acoupi.cli import main
from acoupi.system import CeleryConfig, Settings, setup_program
from acoupi.testing import wait_until

ACTIVITY = "acoupi.programs.activity"
PREFIX = "bad_input_program_"


@dataclass(frozen=True)
class Place:
    """Where a case happens."""

    tmp: Path
    home: Path

    @property
    def program_file(self) -> Path:
        return self.home / "config" / "program.json"

    def program(self, name: str, text: str) -> str:
        """Put a module with a program on the Python path; return its dotted name."""
        module = f"{PREFIX}{name}"
        (self.tmp / "modules" / f"{module}.py").write_text(textwrap.dedent(text))
        return module

    def change(self, **settings) -> None:
        data = json.loads(self.program_file.read_text())
        data.update(settings)
        self.program_file.write_text(json.dumps(data))


@dataclass(frozen=True)
class Case:
    """One mistake."""

    name: str
    arguments: list[str] | Callable[[Place], list[str]]
    code: int
    names: tuple[str, ...]
    """What the message must contain, whatever the line breaks."""
    before: Callable[[Place], object] = lambda place: None
    fresh: bool = False
    """Whether no sensor is set up beforehand."""
    stdin: str = ""

    def __str__(self):
        return self.name


def setting(*options: str) -> list[str]:
    return ["setup", "--program", ACTIVITY, "--no-prompt", *options]


def defining(name: str, text: str, *command: str) -> Callable[[Place], list[str]]:
    def arguments(place: Place) -> list[str]:
        module = place.program(name, text)
        return [word.replace("MODULE", module) for word in command or SETUP_MODULE]

    return arguments


SETUP_MODULE = ("setup", "--program", "MODULE", "--no-prompt")

SMALL_PROGRAM = """
    from pydantic import BaseModel
    from acoupi.programs import AcoupiProgram

    class Config(BaseModel):
        place: str{default}

    class Small(AcoupiProgram[Config]):
        config_schema = Config
        def setup(self, config):
            {body}
"""


def small(body: str = "pass", default: str = " = 'here'") -> str:
    return SMALL_PROGRAM.format(body=body, default=default)


def write(relative: str, text: str | bytes) -> Callable[[Place], object]:
    def act(place: Place):
        path = place.tmp / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    return act


def in_tmp(*words: str) -> Callable[[Place], list[str]]:
    return lambda place: [word.replace("TMP", str(place.tmp)) for word in words]


def configured(module: str, body: str) -> Callable[[Place], object]:
    """Set up a program of ours whose set-up then fails."""

    def act(place: Place):
        name = place.program(module, small())
        setup_program(Settings(place.home), name, {}, CeleryConfig())
        place.program(module, small(body))

    return act


def database(version: int | None) -> Callable[[Place], object]:
    """Make a store of a future version, or (None) a database of something else."""

    def act(place: Place):
        data = json.loads(place.program_file.read_text())
        path = Path(data["paths"]["db_metadata"])
        path.parent.mkdir(exist_ok=True)
        if version is not None:
            from acoupi.components import SqliteStore

            store = SqliteStore(path)
            store.get_current_deployment()
            store.database.close()
        with sqlite3.connect(path) as connection:
            if version is None:
                connection.execute("CREATE TABLE another_program (x)")
            else:
                connection.execute(f"PRAGMA user_version = {version}")
        connection.close()

    return act


def start_deployment(place: Place):
    assert main(["deployment", "start", "wood"]) == 0


UNKNOWN = "00000000-0000-4000-8000-000000000000"

CASES = [
    # What was typed.
    Case("misspelt command", ["stauts"], 2, ("'stauts'", "'status'")),
    Case("misspelt subcommand", ["config", "gte"], 2, ("'gte'", "'get'")),
    Case("misspelt option", ["status", "--jsno"], 2, ("--jsno", "--json")),
    Case("option without its value", ["setup", "--program"], 2, ("--program",)),
    Case("unknown shell", ["completion", "tcsh"], 2, ("tcsh", "bash")),
    Case("days out of range", ["schedule", "preview", "--days", "0"], 2, ("--days",)),
    Case("not a date", ["schedule", "preview", "--from", "soon"], 2, ("soon", "%Y")),
    # Programs.
    Case(
        "unknown program",
        ["setup", "--program", "nowhere.at.all", "--no-prompt"],
        2,
        ("'nowhere.at.all'", "Python path", ACTIVITY),
    ),
    Case(
        "misspelt program",
        ["setup", "--program", "acoupi.programs.activty", "--no-prompt"],
        2,
        ("activty", f"did you mean '{ACTIVITY}'"),
    ),
    Case(
        "not a module's name",
        ["setup", "--program", "foo bar!", "--no-prompt"],
        2,
        ("'foo bar!'", "dotted name"),
    ),
    Case(
        "module without a program",
        ["setup", "--program", "json", "--no-prompt"],
        2,
        ("'json'", "AcoupiProgram"),
    ),
    Case(
        "module with two programs",
        defining("two", small() + "\n    class Other(Small):\n        pass\n"),
        2,
        ("Other, Small", "more than one"),
    ),
    Case(
        "program that raises at import",
        defining("raises", "raise ValueError('no weights')"),
        2,
        ("ValueError: no weights", f"{PREFIX}raises.py, line 1"),
    ),
    Case(
        "program that misses a package",
        defining("misses", "import a_package_that_is_missing"),
        2,
        ("No module named 'a_package_that_is_missing'",),
    ),
    Case(
        "program with a syntax error",
        defining("syntax", "def broken(:\n    pass"),
        2,
        ("SyntaxError", f"({PREFIX}syntax.py, line 1) "),
    ),
    Case(
        "program that exits at import",
        defining("exits", "raise SystemExit(0)"),
        2,
        ("SystemExit",),
    ),
    Case(
        "no program and nobody to ask",
        ["setup", "--no-prompt"],
        2,
        ("--program", ACTIVITY),
        fresh=True,
    ),
    Case(
        "program that raises at setup, run",
        ["run", "--quiet"],
        2,
        ("RuntimeError: no such model", f"{PREFIX}setup_raises"),
        before=configured("setup_raises", "raise RuntimeError('no such model')"),
    ),
    Case(
        "program that raises at setup, tasks",
        ["task", "list"],
        2,
        ("RuntimeError: no such model",),
        before=configured("setup_raises_2", "raise RuntimeError('no such model')"),
    ),
    Case(
        "program that ends its process at setup",
        ["run", "--quiet"],
        1,
        ("ended its process", "code 7", "setup()"),
        before=configured("setup_exits", "import os; os._exit(7)"),
    ),
    Case(
        "program that exits at setup, tasks",
        ["task", "list"],
        2,
        ("SystemExit: no licence", f"{PREFIX}setup_leaves"),
        before=configured("setup_leaves", "raise SystemExit('no licence')"),
    ),
    Case(
        "program without a configuration schema",
        defining(
            "no_schema",
            "from acoupi.programs import AcoupiProgram\n"
            "class Bare(AcoupiProgram):\n"
            "    def setup(self, config): pass\n",
        ),
        2,
        (f"{PREFIX}no_schema", "Bare has no config_schema"),
    ),
    Case(
        "program that adds a task to no queue",
        ["run", "--quiet"],
        2,
        ("'nowhere'", "worker_config"),
        before=configured("no_queue", "self.add_task(print, queue='nowhere')"),
    ),
    Case(
        "program that is gone",
        ["run", "--quiet"],
        2,
        ("no_longer_there",),
        before=write("home/config/name", "no_longer_there\n"),
    ),
    # Settings.
    Case(
        "misspelt setting",
        setting("--microphone.sampelrate", "48000"),
        2,
        ("microphone.sampelrate", "did you mean --microphone.samplerate"),
    ),
    Case("unknown group", setting("--xyzzy.a", "1"), 2, ("xyzzy.a", "no such option")),
    Case("stray value", setting("48000"), 2, ("'48000'", "--key value")),
    Case(
        "setting without its value",
        setting("--recording.duration"),
        2,
        ("recording.duration", "needs a value"),
    ),
    Case(
        "not a number",
        setting("--microphone.samplerate", "fast"),
        2,
        ("microphone.samplerate", '"fast"', "integer"),
    ),
    Case(
        "rate out of range",
        setting("--microphone.samplerate", "10"),
        2,
        ("microphone.samplerate", "10", "1000"),
    ),
    Case(
        "negative duration",
        setting("--recording.duration", "-3"),
        2,
        ("recording.duration", "-3"),
    ),
    Case(
        "threshold above 1",
        setting("--detections.threshold", "1.5"),
        2,
        ("detections.threshold", "1.5", "1"),
    ),
    Case(
        "unknown time zone",
        setting("--timezone", "Europe/Lodnon"),
        2,
        ("timezone", "Europe/Lodnon"),
    ),
    Case(
        "no time of day",
        setting("--recording.schedule-start", "25:00"),
        2,
        ("recording.schedule_start", "25:00"),
    ),
    Case(
        "not one of the choices",
        setting("--microphone.source", "tape"),
        2,
        ("microphone.source", "tape", "folder"),
    ),
    Case(
        "source without its path",
        setting("--microphone.source", "file"),
        2,
        ("source_path", "file"),
    ),
    Case(
        "path that depends on where the sensor is started",
        setting("--paths.recordings", "recordings"),
        2,
        ("paths.recordings", "full path", "/recordings"),
    ),
    Case(
        "path that is empty",
        setting("--paths.db_metadata="),
        2,
        ("paths.db_metadata", "full path"),
    ),
    Case(
        "broker of messages without a host",
        setting("--messaging.mqtt.topic", "birds"),
        2,
        ("messaging.mqtt.host", "required"),
    ),
    Case(
        "port out of range",
        setting("--messaging.mqtt.host", "x", "--messaging.mqtt.port", "99999"),
        2,
        ("messaging.mqtt.port", "99999"),
    ),
    Case(
        "not a URL",
        setting("--messaging.http.base_url", "ftp:nowhere"),
        2,
        ("messaging.http.base_url",),
    ),
    Case(
        "message order that is none",
        setting("--messaging.message-order", "random"),
        2,
        ("messaging.message_order", "newest_first"),
    ),
    Case(
        "required setting that is missing",
        defining("requires", small(default="")),
        2,
        ("place", "required", "--place VALUE"),
    ),
    Case(
        "several at once",
        setting("--microphone.samplerate", "x", "--timezone", "Nowhere", "--nope", "1"),
        2,
        ("microphone.samplerate", "timezone", "nope"),
    ),
    Case(
        "broker of no known kind",
        setting("--broker-url", "carrier-pigeon://x"),
        2,
        ("broker_url", "redis://"),
    ),
    # Configuration files.
    Case(
        "configuration file that is missing",
        in_tmp(*setting("--config", "TMP/none.json")),
        2,
        ("none.json",),
    ),
    Case(
        "configuration file that is not JSON",
        in_tmp(*setting("--config", "TMP/bad.json")),
        2,
        ("bad.json", "line 2"),
        before=write("bad.json", '{\n"a" 1}'),
    ),
    Case(
        "configuration file that is a list",
        in_tmp(*setting("--config", "TMP/list.json")),
        2,
        ("list.json", "object"),
        before=write("list.json", "[]"),
    ),
    Case(
        "configuration file with an unknown key",
        in_tmp(*setting("--config", "TMP/c.json")),
        2,
        ("recordng", "did you mean 'recording'"),
        before=write("c.json", '{"microphone": {}, "recordng": {}}'),
    ),
    Case(
        "standard input that is not JSON",
        setting("--config", "-"),
        2,
        ("standard input", "JSON"),
        stdin="no",
    ),
    Case(
        "stored configuration that is not JSON",
        ["run", "--quiet"],
        2,
        ("program.json", "line 1"),
        before=write("home/config/program.json", "{oops"),
    ),
    Case(
        "stored configuration that is not text",
        ["config", "get"],
        2,
        ("program.json",),
        before=write("home/config/program.json", b"\xff\xfe\x00"),
    ),
    Case(
        "stored configuration with an unknown key",
        ["run", "--quiet"],
        2,
        ("program.json", "nope", "no such setting"),
        before=lambda place: place.change(nope=1),
    ),
    Case(
        "stored configuration that is out of range",
        ["schedule", "preview"],
        2,
        ("program.json", "timezone"),
        before=lambda place: place.change(timezone="Nowhere"),
    ),
    Case(
        "stored celery configuration that is broken",
        ["config", "get"],
        2,
        ("celery.json", "pool", "threads"),
        before=write("home/config/celery.json", '{"pool": "swimming"}'),
    ),
    Case(
        "stored configuration that is missing",
        ["run", "--quiet"],
        2,
        ("acoupi setup",),
        before=lambda place: place.program_file.unlink(),
    ),
    Case("unknown key to get", ["config", "get", "xyzzy"], 2, ("xyzzy", "recording")),
    Case(
        "misspelt key to get",
        ["config", "get", "recording.duratoin"],
        2,
        ("recording.duratoin", "recording.duration"),
    ),
    Case(
        "misspelt key to set",
        ["config", "set", "recording.duratoin", "3"],
        2,
        ("recording.duratoin", "did you mean recording.duration"),
    ),
    Case(
        "wrong value to set",
        ["config", "set", "recording.duration", "long"],
        2,
        ("recording.duration", "long"),
    ),
    Case(
        "wrong broker to set",
        ["config", "set", "celery.broker_url", "nonsense"],
        2,
        ("celery.broker_url", "redis://"),
    ),
    Case(
        "secret among the arguments",
        ["config", "set", "messaging.mqtt.password", "hunter2"],
        2,
        ("messaging.mqtt.password", "is a secret", "config set"),
    ),
    Case(
        "several to set, one without a value",
        ["config", "set", "timezone=UTC", "recording.duration"],
        2,
        ("recording.duration", "KEY=VALUE"),
    ),
    Case(
        "several to set without equals signs",
        ["config", "set", "timezone", "UTC", "recording.duration", "3"],
        2,
        ("KEY=VALUE",),
    ),
    Case(
        "misspelt key to unset",
        ["config", "unset", "recording.duratoin"],
        2,
        ("recording.duratoin", "did you mean 'recording.duration'"),
    ),
    Case(
        "setting without a default to unset",
        ["config", "unset", "microphone"],
        2,
        ("microphone", "is required"),
    ),
    Case(
        "file to validate that is missing",
        in_tmp("config", "validate", "TMP/none.json"),
        2,
        ("none.json",),
    ),
    Case(
        "file to validate with two mistakes",
        in_tmp("config", "validate", "TMP/two.json"),
        2,
        ("two.json", "timezone", "microphone.samplerate"),
        before=write(
            "two.json", '{"timezone": "X", "microphone": {"samplerate": "y"}}'
        ),
    ),
    Case(
        "home managed by something else, setup",
        setting(),
        2,
        ("managed by NixOS (services.acoupi)",),
        before=write("home/config/managed", "NixOS (services.acoupi)\n"),
    ),
    Case(
        "home managed by something else, set",
        ["config", "set", "timezone", "UTC"],
        2,
        ("managed by NixOS",),
        before=write("home/config/managed", "NixOS\n"),
    ),
    # Nothing set up.
    *(
        Case(
            f"nothing set up, {' '.join(words)}",
            words,
            2,
            ("acoupi setup",),
            fresh=True,
        )
        for words in (
            ["run"],
            ["status"],
            ["check"],
            ["config", "get"],
            ["config", "set", "timezone", "UTC"],
            ["task", "list"],
            ["schedule", "preview"],
            ["start"],
            ["deployment", "start", "wood"],
            ["detect", __file__],
        )
    ),
    # Deployments.
    Case(
        "latitude out of range",
        ["deployment", "start", "wood", "--latitude", "91", "--longitude", "0"],
        2,
        ("latitude", "91", "90"),
    ),
    Case(
        "latitude alone",
        ["deployment", "start", "wood", "--latitude", "51"],
        2,
        ("--longitude",),
    ),
    Case(
        "latitude that is no number",
        ["deployment", "start", "wood", "--latitude", "north"],
        2,
        ("--latitude", "north"),
    ),
    Case("deployment without a name", ["deployment", "start", " "], 2, ("name",)),
    Case(
        "deployment within another",
        ["deployment", "start", "field"],
        2,
        ("'wood'", "acoupi deployment end"),
        before=start_deployment,
    ),
    Case(
        "end of no deployment",
        ["deployment", "end"],
        2,
        ("acoupi deployment start",),
    ),
    Case(
        "deployment file that is damaged",
        ["deployment", "status"],
        2,
        ("deployment.json", "acoupi deployment start"),
        before=write("home/config/deployment.json", '{"name": 3}'),
    ),
    # Tasks.
    Case(
        "misspelt task",
        ["task", "run", "recording_tsk"],
        2,
        ("recording_tsk", "did you mean 'recording_task'"),
    ),
    Case(
        "no broker for a task",
        ["task", "run", "recording_task"],
        1,
        ("broker.sock", "acoupi run", "--here"),
    ),
    Case(
        "recording that is no id",
        ["task", "run", "detection_task", "--recording", "7"],
        2,
        ("--recording", "7"),
    ),
    Case(
        "recording that is not there",
        ["task", "run", "detection_task", "--recording", UNKNOWN],
        2,
        ("--recording", UNKNOWN),
    ),
    # Sound files.
    Case("sound file missing", in_tmp("detect", "TMP/no.wav"), 2, ("no.wav",)),
    Case(
        "folder without sounds",
        in_tmp("detect", "TMP/modules"),
        2,
        ("modules", "no sound file"),
    ),
    Case(
        "file that is no sound",
        in_tmp("detect", "--format", "csv", "--output", "TMP/x.csv", "TMP/text.wav"),
        1,
        ("text.wav", "1 of 1 files failed"),
        before=write("text.wav", "this is not a sound"),
    ),
    Case(
        "sound file that is empty",
        in_tmp("detect", "--output", "TMP/x.txt", "TMP/empty.wav"),
        1,
        ("empty.wav",),
        before=write("empty.wav", ""),
    ),
    Case(
        "program without a model",
        in_tmp("detect", "--program", "acoupi.programs.default", "TMP/text.wav"),
        1,
        ("acoupi.programs.default", "no model", "--program"),
        before=write("text.wav", "this is not a sound"),
    ),
    Case(
        "threshold to detect above 1",
        in_tmp("detect", "--threshold", "2", "TMP"),
        2,
        ("--threshold", "2"),
    ),
    Case(
        "output in a folder that is missing",
        in_tmp("detect", "--output", "TMP/none/x.csv", "TMP/text.wav"),
        2,
        ("--output", "x.csv", "No such file"),
        before=write("text.wav", "this is not a sound"),
    ),
    # The demonstration.
    Case(
        "sound of the demonstration missing",
        in_tmp("run", "--demo", "--sound", "TMP/no.wav", "--home", "TMP/demo"),
        2,
        ("--sound", "no.wav"),
    ),
    Case(
        "sound of the demonstration unreadable",
        in_tmp("run", "--demo", "--sound", "TMP/text.wav", "--home", "TMP/demo"),
        2,
        ("--sound", "text.wav"),
        before=write("text.wav", "this is not a sound"),
    ),
    Case(
        "folder of the demonstration without sounds",
        in_tmp("run", "--demo", "--sound", "TMP/modules", "--home", "TMP/demo"),
        2,
        ("--sound", "modules", "no sound file"),
    ),
    Case("sound without the demonstration", ["run", "--sound", "x"], 2, ("--demo",)),
    Case(
        "options without a program",
        ["run", "--timezone", "UTC"],
        2,
        ("--timezone", "--program"),
    ),
    Case(
        "home of another sensor",
        ["run", "--program", "acoupi.programs.default"],
        2,
        (ACTIVITY, "acoupi setup", "--home"),
    ),
    # The machine.
    Case(
        "database of a newer version, run",
        ["run", "--quiet"],
        1,
        ("metadata.db", "schema 999", "newer version"),
        before=database(999),
    ),
    Case(
        "database of a newer version, task",
        ["task", "run", "file_management_task", "--here"],
        1,
        ("metadata.db", "schema 999"),
        before=database(999),
    ),
    Case(
        "database of another program",
        ["run", "--quiet"],
        1,
        ("metadata.db", "another program", "paths.db_metadata"),
        before=database(None),
    ),
    Case(
        "database below a file",
        ["run", "--quiet"],
        1,
        ("file/metadata.db",),
        before=lambda place: (
            (place.tmp / "file").touch(),
            place.change(
                paths={
                    "tmp_audio": str(place.tmp / "data/tmp"),
                    "recordings": str(place.tmp / "data/recordings"),
                    "db_metadata": str(place.tmp / "file/metadata.db"),
                }
            ),
        ),
    ),
    Case(
        "file in the way of the broker",
        ["run", "--quiet"],
        1,
        ("broker.sock", "in the way"),
        before=lambda place: Settings(place.home).broker_socket.write_text("mine"),
    ),
    Case(
        "no systemd",
        ["start"],
        1,
        ("systemd", "acoupi run"),
    ),
    # Builders.
    Case(
        "target of render in use",
        in_tmp(
            *("render", "TMP/modules", "--program", ACTIVITY),
            *("--config", "TMP/home/config/program.json"),
        ),
        2,
        ("modules", "empty directory"),
    ),
    Case(
        "configuration to render not valid",
        in_tmp(
            *("render", "TMP/out", "--program", ACTIVITY, "--config", "TMP/c.json"),
            *("--key-prefix", "services.acoupi.settings"),
        ),
        2,
        ("services.acoupi.settings.microphone.samplerate",),
        before=write("c.json", '{"microphone": {"samplerate": 1}}'),
    ),
    Case("unknown program to describe", ["catalogue", "nope"], 2, ("'nope'",)),
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in ("ACOUPI_TRACEBACK", "ACOUPI_HOME", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "notes.txt").write_text("not a sound")
    monkeypatch.setenv("ACOUPI_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    yield Place(tmp_path, home)
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]


@pytest.fixture
def set_up(place):
    data = place.tmp / "data"
    config = {
        "microphone": {"source": "signal"},
        "paths": {
            "tmp_audio": str(data / "tmp"),
            "recordings": str(data / "recordings"),
            "db_metadata": str(data / "metadata.db"),
        },
        "messaging": {"messages_db": str(data / "messages.db")},
    }
    setup_program(Settings(place.home), ACTIVITY, config, CeleryConfig())


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return what is in a home, apart from what a process may leave while it runs."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in {"run", "log"}
    }


def leftovers(folder: Path) -> set[str]:
    known = {"home", "modules", "data", "file"}
    return {path.name for path in folder.iterdir()} - known


@pytest.mark.parametrize("case", CASES, ids=str)
def test_mistakes_are_named_with_the_way_out_and_change_nothing(
    case, place, request, capfd, monkeypatch
):
    if case.name == "no systemd" and Path("/run/systemd/system").is_dir():
        pytest.skip("systemd runs here")
    if not case.fresh:
        request.getfixturevalue("set_up")
    case.before(place)
    # What was imported before the mistake was made must not hide it.
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]
    arguments = case.arguments(place) if callable(case.arguments) else case.arguments
    before, beside = contents(place.tmp / "home"), leftovers(place.tmp)
    monkeypatch.setattr(sys, "stdin", io.StringIO(case.stdin))
    capfd.readouterr()

    code = main(arguments)

    shown = capfd.readouterr()
    message = re.sub(r"\s+", " ", shown.err)
    assert code == case.code, message
    for name in case.names:
        assert name in message
    assert "Traceback" not in shown.out + shown.err
    assert "fault in acoupi" not in message
    assert "hunter2" not in message
    assert not shown.out
    assert contents(place.tmp / "home") == before
    extra = leftovers(place.tmp) - beside
    assert not {name for name in extra if not name.startswith("x.")}, extra


def test_there_are_at_least_fifty_mistakes_each_of_its_own_name():
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 50


def failed_parts(capfd) -> dict[str, str]:
    report = json.loads(capfd.readouterr().out)
    assert report["ok"] is False
    return {
        part["name"]: part["message"]
        for part in report["checks"]
        if part["state"] == "failed"
    }


def test_check_names_a_missing_microphone_and_those_there_are(place, set_up, capfd):
    place.change(microphone={"device_name": "Ultrasonic 9000"})
    assert main(["check", "--json"]) == 1
    assert "Ultrasonic 9000" in failed_parts(capfd)["parts"]
    assert "microphone.device_name" in str(main(["check"]) and capfd.readouterr().out)


def test_check_names_a_sound_folder_that_is_missing(place, set_up, capfd):
    place.change(
        microphone={"source": "folder", "source_path": str(place.tmp / "gone")}
    )
    assert main(["check", "--json"]) == 1
    message = failed_parts(capfd)["parts"]
    assert "microphone.source_path" in message
    assert "gone" in message


def test_check_names_a_broker_that_does_not_answer_without_its_password(
    place, set_up, capfd
):
    (place.home / "config" / "celery.json").write_text(
        '{"broker_url": "redis://:hunter2@127.0.0.1:1/0"}'
    )
    assert main(["check", "--json"]) == 1
    message = failed_parts(capfd)["broker"]
    assert "127.0.0.1:1" in message
    assert "broker_url" in message
    assert "hunter2" not in message


def test_check_finds_a_private_file_that_others_can_read(place, set_up, capfd):
    place.program_file.chmod(0o644)
    assert main(["check", "--json"]) == 1
    assert f"chmod 600 {place.program_file}" in failed_parts(capfd)["files"]


def test_a_damaged_database_is_a_problem_that_status_shows(place, set_up, capfd):
    data = json.loads(place.program_file.read_text())
    database_file = Path(data["paths"]["db_metadata"])
    database_file.parent.mkdir(exist_ok=True)
    database_file.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert main(["status"]) == 0
    shown = capfd.readouterr()
    assert "database" in shown.out
    assert "Traceback" not in shown.out + shown.err


def test_a_damaged_database_is_set_aside_and_the_sensor_goes_on(place, set_up, capfd):
    data = json.loads(place.program_file.read_text())
    database_file = Path(data["paths"]["db_metadata"])
    database_file.parent.mkdir(exist_ok=True)
    database_file.write_bytes(b"\xff" * 5000)
    assert main(["task", "run", "file_management_task", "--here"]) == 0
    aside = list(database_file.parent.glob("metadata.db.corrupt-*"))
    assert aside[0].read_bytes() == b"\xff" * 5000
    assert "Traceback" not in capfd.readouterr().err


def test_check_names_what_is_missing_or_ends_a_program(place, set_up, capfd):
    (place.home / "config" / "celery.json").unlink()
    assert main(["check", "--json"]) == 1
    assert "celery.json is missing" in failed_parts(capfd)["files"]
    place.program(
        "check_leaves",
        small() + "        def check(self, config): raise SystemExit('no licence')\n",
    )
    (place.home / "config" / "name").write_text(f"{PREFIX}check_leaves\n")
    (place.home / "config" / "program.json").write_text("{}")
    assert main(["check", "--json"]) == 1
    assert failed_parts(capfd)["parts"] == "SystemExit: no licence"


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("name", "", None),
        ("celery.json", '{"broker_url": nul', "celery.json is not valid JSON"),
        ("program.json", "[1]", "holds no JSON object"),
        (
            "program.json",
            '{"microphone": {"source": "signal", "gone": 1}, "timezone": "UTC"}',
            "The former setting microphone.gone is left out",
        ),
        ("celery.json", '{"gone": 1}', "The former setting gone is left out"),
    ],
)
def test_setup_mends_a_home_that_is_torn_or_of_another_version(
    place, set_up, capfd, file, text, said
):
    (place.home / "config" / file).write_text(text)
    options = ["--no-prompt", "--microphone.source=signal"]
    assert main(["setup", "--program", ACTIVITY, *options]) == 0
    told = capfd.readouterr().err
    assert said is None or said in told
    assert main(["config", "validate"]) == 0
    assert main(["config", "get", "timezone"]) == 0
    kept = "UTC" if "UTC" in text else "Europe/London"
    assert capfd.readouterr().out.endswith(f"{kept}\n")


def test_a_home_that_is_a_file_is_named_and_kept(place, capfd):
    place.home.write_text("precious")
    assert main(setting("--microphone.source", "signal")) == 1
    message = capfd.readouterr().err
    assert str(place.home) in message
    assert "Traceback" not in message
    assert place.home.read_text() == "precious"


def test_a_full_disk_leaves_the_former_setup_untouched(
    place, set_up, capfd, monkeypatch
):
    before = contents(place.home)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main(setting("--microphone.source", "signal", "--timezone", "UTC")) == 1
    monkeypatch.undo()
    message = capfd.readouterr().err
    assert "No space left on device" in message
    assert "unchanged" in message
    assert contents(place.home) == before
    assert leftovers(place.tmp) == set()


def test_a_socket_that_another_server_has_is_left_to_it(place, set_up, capfd):
    path = Settings(place.home).broker_socket
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(path))
        other.listen()
        assert main(["run", "--quiet"]) == 1
        assert "acoupi stop" in capfd.readouterr().err
        assert path.exists()


def test_a_program_that_hangs_at_import_can_be_interrupted(place):
    begun = place.tmp / "begun"
    module = place.program(
        "hangs",
        f"import pathlib, time\npathlib.Path({str(begun)!r}).touch()\ntime.sleep(600)",
    )
    with subprocess.Popen(
        [
            # Tests that run in the background have the signal ignored.
            *("env", "--default-signal=INT"),
            *(sys.executable, "-m", "acoupi.cli"),
            *("setup", "--program", module, "--no-prompt"),
        ],
        env={**os.environ, "PYTHONPATH": str(place.tmp / "modules")},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(begun.exists, 60, "the import")
        process.send_signal(2)
        _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in message
    assert not place.home.exists()
