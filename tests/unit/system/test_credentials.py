"""Secrets are stored for the sensor and masked for everybody else."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel, SecretBytes, SecretStr

from acoupi.errors import ConfigurationError
from acoupi.system.credentials import (
    MASK,
    dump_config,
    masked,
    put_references,
    resolve_secrets,
    take_references,
)
from acoupi.system.validation import validate_config


class Account(BaseModel):
    user: str = "u"
    password: SecretStr | None = None


class Schema(BaseModel):
    account: Account = Account()
    accounts: list[Account] = []
    by_name: dict[str, Account] = {}
    key: SecretBytes | None = None
    url: str = "http://host"


FULL = Schema(
    account=Account(password=SecretStr("hunter2")),
    accounts=[Account(password=SecretStr("hunter3"))],
    by_name={"a": Account(password=SecretStr("hunter4"))},
    key=SecretBytes(b"hunter5"),
    url="redis://me:hunter6@host:1/0",
)


def test_what_is_stored_reads_back_the_same_with_its_secrets():
    text = dump_config(FULL)
    assert validate_config(Schema, json.loads(text)) == FULL
    assert all(f"hunter{number}" in text for number in range(2, 7))


def test_equal_configurations_give_equal_bytes():
    assert dump_config(FULL) == dump_config(Schema.model_validate(FULL.model_dump()))


def test_what_is_shown_holds_no_secret():
    for shown in (masked(FULL), masked(json.loads(json.dumps(masked(FULL))))):
        assert "hunter" not in json.dumps(shown)
    assert masked(FULL)["account"] == {"user": "u", "password": MASK}
    assert masked(FULL)["url"] == f"redis://{MASK}@host:1/0"


def test_an_absent_secret_is_shown_as_absent():
    assert masked(Schema())["account"]["password"] is None


def test_a_reference_is_read_from_the_services_credentials(tmp_path, monkeypatch):
    (tmp_path / "mqtt").write_text("hunter2\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    data = {"account": {"password": {"_secret": "mqtt"}}, "accounts": [{"user": "x"}]}
    resolved = resolve_secrets(data)
    assert resolved["account"]["password"] == "hunter2"
    assert resolved["accounts"] == [{"user": "x"}]


@pytest.mark.parametrize(
    ("name", "directory", "said"),
    [
        ("mqtt", None, "systemd credential"),
        ("gone", "there", "gone"),
        ("../x", "there", "not the name"),
    ],
)
def test_a_credential_that_is_not_there_is_named(
    name, directory, said, tmp_path, monkeypatch
):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigurationError, match=said):
        resolve_secrets({"p": {"_secret": name}}, tmp_path if directory else None)


def test_references_survive_validation_and_storing():
    data = {
        "account": {"password": {"_secret": "one"}},
        "accounts": [{"password": {"_secret": "two"}}],
    }
    plain, references = take_references(data)
    config = validate_config(Schema, plain)
    stored = json.loads(dump_config(config, references))
    assert stored["account"]["password"] == {"_secret": "one"}
    assert stored["accounts"][0]["password"] == {"_secret": "two"}
    assert put_references({"a": 1}, {}) == {"a": 1}
