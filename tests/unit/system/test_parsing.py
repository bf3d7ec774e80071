"""A configuration comes from options and questions, whatever its schema."""

from __future__ import annotations

import datetime
import enum
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest
from click.testing import CliRunner
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from acoupi.programs import NoUserPrompt
from acoupi.system import parse_config_from_args
from acoupi.system.validation import InvalidConfigurationError


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Broker(BaseModel):
    host: str
    password: SecretStr | None = None
    port: int = Field(default=1884, ge=1, le=65535, description="Port of the broker.")


class Messaging(BaseModel):
    mqtt: Broker | None = Field(default=None, description="MQTT broker.")
    every: datetime.timedelta = datetime.timedelta(minutes=2)


class Audio(BaseModel):
    duration: float = Field(default=3, gt=0)
    rates: list[int] = [48000]


class Everything(BaseModel):
    """One field of each kind."""

    name: str
    count: int = 1
    share: float = Field(default=0.5, ge=0, le=1)
    flag: bool = True
    maybe: int | None = None
    text: str | None = None
    order: Literal["oldest", "newest", 3] = "oldest"
    colour: Colour = Colour.RED
    names: list[str] = []
    pair: tuple[float, float] = (0, 1)
    unique: set[int] = {1}
    orders: list[Literal["oldest", "newest", 3]] = []
    labels: dict[str, int] = {}
    place: Path = Path("/data")
    day: datetime.date = datetime.date(2024, 1, 1)
    at: datetime.time = datetime.time(6, 30)
    moment: datetime.datetime | None = None
    pause: datetime.timedelta = datetime.timedelta(seconds=90)
    secret: SecretStr = SecretStr("initial")
    free: Any = None
    audio: Audio = Audio(duration=7)
    messaging: Messaging | None = None
    hidden: Annotated[int, NoUserPrompt] = 5
    hidden_too: Annotated[int, NoUserPrompt()] = 6


def parse(*args: str, schema: type[BaseModel] = Everything, **keywords: Any) -> Any:
    return parse_config_from_args(schema, args, False, **keywords)


def problems(*args: str, schema: type[BaseModel] = Everything) -> dict[str, str]:
    with pytest.raises(InvalidConfigurationError) as caught:
        parse(*args, schema=schema)
    return {problem.key: problem.message for problem in caught.value.problems}


# Options


def test_defaults_hold_for_what_is_not_given():
    assert parse("--name", "n") == Everything(name="n")


@pytest.mark.parametrize(
    ("args", "path", "value"),
    [
        (["--count", "-3"], "count", -3),
        (["--count=-3"], "count", -3),
        (["--share", "0.25"], "share", 0.25),
        (["--flag"], "flag", True),
        (["--no-flag"], "flag", False),
        (["--flag", "no"], "flag", False),
        (["--flag=false"], "flag", False),
        (["--maybe", "4"], "maybe", 4),
        (["--maybe", "null"], "maybe", None),
        (["--no-maybe"], "maybe", None),
        (["--text", "none"], "text", "none"),
        (["--text", "null"], "text", None),
        (["--text", "--order", "newest"], "order", None),
        (["--order", "newest"], "order", "newest"),
        (["--order", "3"], "order", 3),
        (["--colour", "red"], "colour", Colour.RED),
        (["--colour", "2"], "colour", Colour.BLUE),
        (["--colour", "BLUE"], "colour", Colour.BLUE),
        (["--names", "a"], "names", ["a"]),
        (["--names", "a,b"], "names", ["a", "b"]),
        (["--names", "a", "--names", "b,c"], "names", ["a", "b", "c"]),
        (["--names", '["a,b"]'], "names", ["a,b"]),
        (["--names", ""], "names", []),
        (["--pair", "2,3"], "pair", (2.0, 3.0)),
        (["--unique", "2,3,2"], "unique", {2, 3}),
        (["--orders", "oldest,3"], "orders", ["oldest", 3]),
        (["--labels", '{"a": 1}'], "labels", {"a": 1}),
        (["--place", "/x y"], "place", Path("/x y")),
        (["--day", "2025-02-03"], "day", datetime.date(2025, 2, 3)),
        (["--at", "22:15"], "at", datetime.time(22, 15)),
        (
            ["--moment", "2025-02-03T04:05:06Z"],
            "moment",
            datetime.datetime(2025, 2, 3, 4, 5, 6, tzinfo=datetime.UTC),
        ),
        (["--pause", "2.5"], "pause", datetime.timedelta(seconds=2.5)),
        (["--pause", "PT1H"], "pause", datetime.timedelta(hours=1)),
        (["--pause", "00:01:00"], "pause", datetime.timedelta(minutes=1)),
        (["--secret", "hunter2"], "secret", SecretStr("hunter2")),
        (["--free", '{"a": [1]}'], "free", {"a": [1]}),
        (["--free", "text"], "free", "text"),
        (["--audio.rates", "1,2"], "audio.duration", 7),
        (["--audio", '{"duration": 4}'], "audio.duration", 4),
        (["--messaging"], "messaging.mqtt", None),
        (["--messaging.every", "5"], "messaging.every", datetime.timedelta(seconds=5)),
        (["--messaging.mqtt.host=h"], "messaging.mqtt.port", 1884),
        (["--messaging.mqtt.host", "h", "--no-messaging.mqtt"], "messaging.mqtt", None),
        (["--hidden", "8"], "hidden", 8),
        (["--hidden-too", "8"], "hidden_too", 8),
    ],
)
def test_an_option_sets_its_field(args, path, value):
    if value is None and path == "order":
        assert "text" in problems("--name", "n", *args)
        return
    found: Any = parse("--name", "n", *args)
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value


def test_everything_wrong_with_options_is_said_at_once():
    found = problems(
        "stray",
        "--nmae",
        "x",
        "--count",
        "many",
        "--labels",
        "{",
        "--audio.duration",
        "0",
        "--messaging.mqtt.port",
        "0",
        "--colour",
        "green",
        "--no-count",
    )
    assert "did you mean --name" in found["--nmae"]
    assert "unexpected argument 'stray'" in found[""]
    assert "give --name VALUE" in found["name"]
    assert "cannot be switched off" in found["count"] or "integer" in found["count"]
    assert "JSON" in found["labels"]
    assert "greater than 0" in found["audio.duration"]
    assert "give --messaging.mqtt.host VALUE" in found["messaging.mqtt.host"]
    assert "messaging.mqtt.port" in found
    assert "red" in found["colour"]


def test_what_is_missing_in_a_required_group_is_named_within_it():
    class Outer(BaseModel):
        inner: Broker

    assert set(problems(schema=Outer)) == {"inner.host"}


def test_a_required_group_with_defaults_need_not_be_given():
    class Outer(BaseModel):
        inner: Audio

    assert parse(schema=Outer).inner == Audio()


def test_options_change_a_present_configuration():
    present = {"name": "n", "messaging": {"mqtt": {"host": "h", "port": 5}}}
    config = parse("--messaging.mqtt.port", "6", defaults=present)
    assert config.messaging.mqtt.host == "h"
    assert config.messaging.mqtt.port == 6
    assert present["messaging"]["mqtt"]["port"] == 5


def test_an_invalid_secret_given_as_option_is_not_repeated():
    class Strict(BaseModel):
        secret: SecretStr = Field(min_length=20)

    with pytest.raises(InvalidConfigurationError) as caught:
        parse("--secret", "hunter2", schema=Strict)
    assert "hunter2" not in str(caught.value)


# Questions


def ask(
    answers: str, *args: str, schema: type[BaseModel] = Everything, **keywords: Any
) -> tuple[Any, str]:
    result: list[Any] = []

    @click.command()
    def command() -> None:
        result.append(parse_config_from_args(schema, args, True, **keywords))

    run = CliRunner().invoke(command, input=answers)
    if run.exception and not isinstance(run.exception, SystemExit):
        raise run.exception
    return (result[0] if result else None), run.output


def test_every_default_can_be_accepted_by_return():
    # The name and 23 questions.
    config, _ = ask("n\n" + "\n" * 40)
    assert config == Everything(name="n")


def test_no_question_is_asked_for_a_marked_field():
    _, said = ask("n\n" + "\n" * 40)
    assert "hidden:" not in said
    assert "hidden_too" not in said


def test_a_question_shows_description_choices_and_default():
    _, said = ask("n\n" + "\n" * 40)
    assert "order [oldest|newest|3] [oldest]" in said
    assert "colour [red|2] [red]" in said
    assert "pause [90]" in said
    assert "audio.duration [7" in said
    _, said = ask("h\n\n\n", schema=Broker)
    assert "port (Port of the broker) [1884]" in said


def test_an_answer_that_is_wrong_is_asked_again_with_the_reason():
    config, said = ask("h\n\n0\nx\n99\n", schema=Broker)
    assert config.port == 99
    assert "must be greater than or equal to 1" in said
    assert "must be a valid integer" in said


def test_a_given_option_is_not_asked_for():
    config, said = ask("\n\n", "--host", "h", schema=Broker)
    assert config.host == "h"
    assert "host" not in said


def test_an_optional_group_is_asked_for_as_a_whole_first():
    config, said = ask("y\nh\n\n\n\n", schema=Messaging)
    assert config.mqtt.host == "h"
    assert "Set up mqtt? (MQTT broker.) [y/N]" in said
    config, said = ask("n\n\n", schema=Messaging)
    assert config.mqtt is None
    assert "host" not in said


def test_an_option_within_an_optional_group_switches_it_on():
    config, said = ask("\n\n\n", "--mqtt.host", "h", schema=Messaging)
    assert config.mqtt.host == "h"
    assert "Set up" not in said


def test_a_secret_is_not_echoed():
    config, said = ask("h\nhunter2\n\n", schema=Broker)
    assert config.password.get_secret_value() == "hunter2"
    assert "hunter2" not in said


def test_an_invalid_secret_is_asked_again_without_being_shown():
    class Strict(BaseModel):
        secret: SecretStr = Field(min_length=10)

    config, said = ask("hunter2\nlong enough a secret\n", schema=Strict)
    assert config.secret.get_secret_value() == "long enough a secret"
    assert "hunter2" not in said


def test_a_present_secret_is_kept_by_return_and_never_shown():
    present = {"host": "h", "password": "hunter2", "port": 7}
    config, said = ask("\n\n\n", schema=Broker, defaults=present)
    assert config.password.get_secret_value() == "hunter2"
    assert config.port == 7
    assert "hunter2" not in said
    assert "keeps the present one" in said


def test_a_present_configuration_is_offered_as_default():
    present = {"mqtt": {"host": "h", "port": 7}, "every": "PT30S"}
    config, said = ask("\n\n\n\n\n", schema=Messaging, defaults=present)
    assert config.mqtt.host == "h"
    assert config.mqtt.port == 7
    assert config.every == datetime.timedelta(seconds=30)
    assert "[Y/n]" in said


def test_a_wrong_option_is_an_error_before_the_first_question():
    with pytest.raises(InvalidConfigurationError, match="port"):
        ask("h\n", "--port", "0", schema=Broker)


def test_settings_that_are_wrong_together_are_asked_for_again():
    class Band(BaseModel):
        low: int
        high: int

        @model_validator(mode="after")
        def _check(self) -> Band:
            if self.low >= self.high:
                raise ValueError("low must be below high")
            return self

    config, said = ask("5\n3\n\n9\n", schema=Band)
    assert (config.low, config.high) == (5, 9)
    assert "low must be below high" in said


def test_options_that_are_wrong_together_are_an_error():
    class Band(BaseModel):
        low: int
        high: int

        @model_validator(mode="after")
        def _check(self) -> Band:
            if self.low >= self.high:
                raise ValueError("low must be below high")
            return self

    with pytest.raises(InvalidConfigurationError, match="below"):
        ask("", "--low", "5", "--high", "3", schema=Band)


def test_a_validator_of_the_schema_has_its_say_at_the_question():
    class Named(BaseModel):
        name: str
        rest: int = 1

        @field_validator("name")
        @classmethod
        def _check(cls, value: str) -> str:
            if " " in value:
                raise ValueError("no blanks, please")
            return value

    config, said = ask("a b\nab\n\n", schema=Named)
    assert config.name == "ab"
    assert "no blanks, please" in said


def test_the_end_of_the_input_gives_up_without_a_configuration():
    code = (
        "import click\n"
        "from pydantic import BaseModel\n"
        "from acoupi.system import parse_config_from_args\n"
        "class S(BaseModel):\n    name: str\n"
        "try:\n    parse_config_from_args(S)\n"
        "except click.Abort:\n    print('gave up')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "gave up" in run.stdout


def test_a_secret_is_hidden_on_a_real_terminal(tmp_path):
    code = (
        "from pydantic import BaseModel, SecretStr\n"
        "from acoupi.system import parse_config_from_args\n"
        "class S(BaseModel):\n    secret: SecretStr\n"
        "config = parse_config_from_args(S, [], True)\n"
        f"with open({str(tmp_path / 'out')!r}, 'w') as out:\n"
        "    out.write(config.secret.get_secret_value())\n"
    )
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    seen = b""
    while b"secret" not in seen:
        seen += os.read(controller, 1000)
    deadline = time.monotonic() + 30
    while termios.tcgetattr(controller)[3] & termios.ECHO:
        assert time.monotonic() < deadline, "the echo stays on"
        time.sleep(0.01)
    os.write(controller, b"hunter2\n")
    try:
        while chunk := os.read(controller, 1000):
            seen += chunk
    except OSError:
        pass
    assert process.wait(30) == 0
    os.close(controller)
    assert (tmp_path / "out").read_text() == "hunter2"
    assert b"hunter2" not in seen
