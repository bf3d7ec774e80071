"""The settings' types on NixOS: at least what pydantic accepts, and little more."""

from __future__ import annotations

import datetime
import enum
import json
import shutil
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = ROOT / "nixos-modules" / "lib" / "schema.nix"

pytestmark = pytest.mark.skipif(
    shutil.which("nix-instantiate") is None, reason="nix-instantiate is not installed"
)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Inner(BaseModel):
    host: str
    port: int = Field(default=1883, ge=1, le=65535)


class Every(BaseModel):
    """One setting of each kind."""

    flag: bool = True
    count: int = Field(default=3, ge=1, le=10)
    rate: float = Field(default=0.5, gt=0, lt=2)
    name: str = "x"
    place: Path = Path("/data")
    since: datetime.time = datetime.time(6)
    day: datetime.date | None = None
    order: Literal["first", "last"] = "first"
    depth: Literal[16, 24] = 16
    colour: Colour = Colour.RED
    secret: SecretStr | None = None
    many: list[int] = Field(default_factory=list)
    table: dict[str, int] = Field(default_factory=dict)
    either: int | str = 1
    inner: Inner | None = None
    always: Annotated[Inner, Field(description="given")] = Inner(host="h")
    open_path: Path = Field(default_factory=lambda: Path("/here"))


SETTING = "schemas.classify given.schema given.schema.properties.${given.name}"

VALUES = [
    *(None, True, False, 0, 1, 3, 11, -1, 0.5, 3.0, 2.5, "", "x", "3", " 3 ", "3.0"),
    *(
        "0.5",
        "1e1",
        "true",
        "YES",
        "off",
        "first",
        "red",
        "06:30",
        "06:30:15",
        "2026-05-31",
    ),
    *(
        "/data",
        [],
        [1],
        ["1"],
        ["x"],
        {},
        {"a": 1},
        {"host": "h"},
        {"host": "h", "port": 0},
    ),
    *({"port": 3}, 16, 24, "16", 1780000000, "P1D", 1e300, 65535),
]


@pytest.fixture(scope="session")
def understand(evaluate, tmp_path_factory):
    """Return a function that evaluates an expression about `schemas` and `given`."""
    given = tmp_path_factory.mktemp("given") / "given.json"

    def run(body: str, **values: object):
        given.write_text(json.dumps(values))
        return evaluate(
            f"let given = builtins.fromJSON (builtins.readFile {given});"
            f" schemas = import {SCHEMA}; in {body}"
        )

    return run


@pytest.fixture(scope="session")
def verdicts(understand):
    """Whether Nix accepts each of VALUES, by name of the setting."""
    return understand(
        "builtins.mapAttrs (_: it: map (schemas.accepts (schemas.classify given.schema"
        " it)) given.values) given.schema.properties",
        schema=Every.model_json_schema(),
        values=VALUES,
    )


@pytest.mark.parametrize("name", sorted(Every.model_fields))
def test_no_type_is_stricter_than_pydantic(verdicts, name):
    refused = []
    for value, accepted in zip(VALUES, verdicts[name], strict=True):
        try:
            Every.model_validate({name: value})
        except ValidationError:
            continue
        if not accepted:
            refused.append(value)
    assert refused == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", "many"),
        ("count", 11),
        ("count", [1]),
        ("count", None),
        ("rate", 2.5),
        ("flag", "x"),
        ("flag", [1]),
        ("name", 3),
        ("order", "x"),
        ("inner", "x"),
        ("many", "x"),
        ("many", {}),
    ],
)
def test_a_plain_mistake_is_refused_before_the_build(understand, name, value):
    accepted = understand(
        f"schemas.accepts ({SETTING}) given.value",
        schema=Every.model_json_schema(),
        name=name,
        value=value,
    )
    assert accepted is False


def test_a_reference_to_a_credential_stands_for_any_value(understand):
    accepted = understand(
        "builtins.mapAttrs (_: it: schemas.accepts (schemas.classify given.schema it)"
        ' { _secret = "x"; }) given.schema.properties',
        schema=Every.model_json_schema(),
    )
    assert set(accepted.values()) == {True}


def test_what_was_left_open_is_left_to_the_program(understand):
    pruned = understand(
        "let root = given.schema; in"
        " schemas.prune root (schemas.classify root root) given.value",
        schema=Every.model_json_schema(),
        value={
            "open_path": None,
            "day": None,
            "always": {"host": "h", "port": None},
            "x": 1,
        },
    )
    assert pruned == {"day": None, "always": {"host": "h"}, "x": 1}


def test_paths_are_found_with_their_keys(understand):
    found = understand(
        "schemas.pathsIn given.schema given.value",
        schema=Every.model_json_schema(),
        value={"place": "/data/x", "open_path": "relative", "name": "/not/a/path"},
    )
    assert found == [{"key": "place", "value": "/data/x"}]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("count", "integer, at least 1 and at most 10"),
        ("rate", "number, more than 0 and less than 2"),
        ("order", 'one of "first", "last"'),
        ("secret", 'null or secret: { _secret = "NAME"; }'),
        ("inner", "null or group"),
        ("since", 'time of day, as in "06:30:00"'),
    ],
)
def test_types_are_described_in_words(understand, name, words):
    described = understand(
        f"schemas.describe ({SETTING})",
        schema=Every.model_json_schema(),
        name=name,
    )
    assert described == words
