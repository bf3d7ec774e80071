"""Everything wrong with a configuration is said at once, secrets excepted."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    field_validator,
    model_validator,
)

from acoupi.system.validation import (
    InvalidConfigurationError,
    find_problems,
    validate_config,
)


class Server(BaseModel):
    host: str
    port: int = Field(default=1, ge=1, le=65535)
    password: SecretStr | None = None


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    tricks: int = 0


class Schema(BaseModel):
    duration: float = Field(gt=0)
    order: Literal["oldest_first", "newest_first"] = "oldest_first"
    server: Server | None = None
    servers: list[Server] = []
    named: dict[str, Server] = {}
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
    either: Cat | Dog | None = None


def problems(data: object) -> dict[str, str]:
    return {problem.key: str(problem) for problem in find_problems(Schema, data)}


def test_a_valid_configuration_comes_back_as_a_model():
    assert validate_config(Schema, {"duration": 3}).duration == 3


def test_all_problems_are_reported_at_once():
    found = problems(
        {
            "duration": -1,
            "order": "fifo",
            "server": {"port": 0},
            "servers": [{"host": "a"}, {"host": 1}],
            "extra": 1,
        }
    )
    assert set(found) == {
        "duration",
        "order",
        "server.host",
        "server.port",
        "servers.1.host",
        "extra",
    }


@pytest.mark.parametrize(
    ("data", "key", "said"),
    [
        ({"duraton": 3}, "duraton", "did you mean 'duration'?"),
        ({"duration": 3, "server": {"host": "a", "prt": 2}}, "server.prt", "'port'"),
        ({"duration": 3, "zzzz": 2}, "zzzz", "allowed are duration, order"),
        ({"duration": 0}, "duration", "= 0: must be greater than 0"),
        ({"duration": "x"}, "duration", 'duration = "x": must be a valid number'),
        ({"duration": 1, "order": "z"}, "order", "'oldest_first' or 'newest_first'"),
        ({}, "duration", "is required"),
        ({"duration": 1, "server": "here"}, "server", "dictionary"),
        ({"duration": 1, "servers": [{"hots": 1}]}, "servers.0.hots", "'host'"),
        ({"duration": 1, "named": {"x": {"hots": 1}}}, "named.x.hots", "'host'"),
        ({"duration": 1, "pet": {"kind": "cow"}}, "pet", "'cat', 'dog'"),
        ({"duration": 1, "pet": {"kind": "cat", "live": 3}}, "pet.live", "'lives'"),
        (
            {"duration": 1, "either": {"kind": "dog", "trick": 3}},
            "either.trick",
            "'tricks'",
        ),
        ([], "", "dictionary"),
        (None, "", "dictionary"),
    ],
)
def test_a_problem_names_key_value_and_what_is_allowed(data, key, said):
    assert said in problems(data)[key]


def test_a_misspelt_key_explains_the_missing_one():
    assert set(problems({"duraton": 3})) == {"duraton"}


def test_types_in_a_union_do_not_appear_in_keys():
    found = problems({"duration": 1, "either": {"kind": "dog", "tricks": "many"}})
    assert "either.tricks" in found
    assert not any("Dog" in key for key in found)


def test_a_secret_never_appears_in_a_message():
    class Strict(BaseModel):
        password: SecretStr = Field(min_length=50)
        note: str = "n"

        @field_validator("note")
        @classmethod
        def _leak(cls, value: str) -> str:
            raise ValueError(f"cannot use {value}")

    text = str(
        InvalidConfigurationError(
            find_problems(Strict, {"password": "hunter2", "note": "hunter2"})
        )
    )
    assert "hunter2" not in text
    assert "password" in text
    assert "note" in text


def test_a_secret_within_a_list_or_of_a_wrong_type_is_masked_too():
    for data in (
        {"duration": 1, "servers": [{"host": "a", "password": ["hunter2"]}]},
        {"duration": 1, "servers": [{"host": 3, "password": "hunter2"}]},
        {"duration": 1, "named": {"n": {"host": "hunter2 ", "password": 17171717}}},
        {"duration": 1, "server": {"host": "a", "password": 17171717}},
    ):
        text = str(find_problems(Schema, data))
        assert "17171717" not in text
        assert "hunter2'" not in text


def test_the_password_in_a_url_is_masked():
    class Broker(BaseModel):
        url: Literal["x"]

    text = str(find_problems(Broker, {"url": "redis://me:hunter2@host/0"}))
    assert "hunter2" not in text
    assert "@host" in text


def test_a_long_value_is_cut():
    assert len(problems({"duration": "x" * 10_000})["duration"]) < 300


def test_a_schema_that_allows_more_is_respected():
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

    assert find_problems(Open, {"anything": 1}) == []


def test_a_schema_that_forbids_more_reports_once():
    class Closed(BaseModel):
        model_config = ConfigDict(extra="forbid")
        a: int = 1

    assert len(find_problems(Closed, {"b": 1})) == 1


def test_a_schema_that_reads_former_keys_may_do_so():
    class Moved(BaseModel):
        new: int

        @model_validator(mode="before")
        @classmethod
        def _move(cls, value: dict) -> dict:
            return {"new": value["old"]} if "old" in value else value

    assert validate_config(Moved, {"old": 3}).new == 3


def test_aliases_are_the_keys_of_the_file():
    class Aliased(BaseModel):
        from_: int = Field(alias="from")

    assert validate_config(Aliased, {"from": 3}).from_ == 3
    assert find_problems(Aliased, {"form": 3})[0].key == "form"


def test_a_validator_that_raises_anything_is_a_problem_not_a_crash():
    class Crashes(BaseModel):
        a: int

        @field_validator("a")
        @classmethod
        def _crash(cls, value: int) -> int:
            raise KeyError("inner")

    assert "KeyError" in str(find_problems(Crashes, {"a": 1})[0])


def test_a_rule_about_the_whole_is_reported_without_a_key():
    class Both(BaseModel):
        a: int
        b: int

        @model_validator(mode="after")
        def _check(self) -> Both:
            if self.a > self.b:
                raise ValueError("a must not be above b")
            return self

    assert str(find_problems(Both, {"a": 2, "b": 1})[0]) == "a must not be above b"


def test_the_error_names_its_source_and_can_be_put_below_another_key():
    with pytest.raises(InvalidConfigurationError, match=r"in file\.json") as caught:
        validate_config(Schema, {"duration": -1}, source="file.json")
    assert caught.value.exit_code == 2
    moved = caught.value.below("services.acoupi.settings")
    assert "services.acoupi.settings.duration = -1" in str(moved)
