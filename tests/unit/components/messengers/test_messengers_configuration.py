from __future__ import annotations

import json
import pickle

import pytest
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from acoupi.components import HTTPConfig, MQTTConfig

CANARY = "c4n4ry-d0-n0t-sh0w"


def test_defaults_are_those_of_the_interface():
    http = HTTPConfig(base_url="https://example.org/x")
    assert (http.content_type, http.timeout) == ("application/json", 5)

    mqtt = MQTTConfig(host="example.org")
    assert (mqtt.topic, mqtt.port, mqtt.timeout) == ("acoupi", 1884, 5)
    assert (mqtt.use_tls, mqtt.transport) == (False, "tcp")
    assert (mqtt.username, mqtt.password) == (None, None)


@pytest.mark.parametrize("schema", [HTTPConfig, MQTTConfig])
def test_every_field_is_described(schema):
    for name, field in schema.model_fields.items():
        assert field.description, name


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_url", "ftp://example.org"),
        ("base_url", "example.org"),
        ("base_url", "https://"),
        ("base_url", "https://exa mple.org"),
        ("base_url", "https://example.org:99999"),
        ("base_url", "https://[::1"),
        ("base_url", ""),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", 1e9),
        ("timeout", float("nan")),
        ("headers", {"Authorization": CANARY}),
        ("headers", {"X": "a\r\nEvil: b"}),
        ("token_header", "a b"),
        ("token_file", "/x"),
        ("password_file", "/x"),
        ("tls_key_file", "/x"),
        ("passwd", CANARY),
    ],
)
def test_mistakes_in_http_settings_name_the_key_and_hide_the_secret(key, value):
    settings = {
        "base_url": "https://example.org/x",
        "token": CANARY,
        "password": CANARY,
        key: value,
    }

    with pytest.raises(ValidationError) as caught:
        HTTPConfig.model_validate(settings)

    assert [error["loc"][0] for error in caught.value.errors()] == [key]
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", ""),
        ("port", 0),
        ("port", 65536),
        ("port", "no"),
        ("topic", "a/#"),
        ("topic", "a/+/b"),
        ("topic", ""),
        ("transport", "carrier pigeon"),
        ("protocol_version", "4"),
        ("keepalive", 1),
        ("max_inflight", 0),
        ("password_file", "/x"),
        ("tls_key_file", "/x"),
        ("usr", "x"),
    ],
)
def test_mistakes_in_mqtt_settings_name_the_key_and_hide_the_secret(key, value):
    settings = {"host": "example.org", "password": CANARY, key: value}

    with pytest.raises(ValidationError) as caught:
        MQTTConfig.model_validate(settings)

    assert [error["loc"][0] for error in caught.value.errors()] == [key]
    assert CANARY not in str(caught.value)


def test_credentials_within_the_address_become_secrets():
    config = HTTPConfig(base_url=f"https://me%40home:{CANARY}@example.org:8443/x?a=1")

    assert config.base_url == "https://example.org:8443/x?a=1"
    assert config.username == "me@home"
    assert config.password == SecretStr(CANARY)
    assert CANARY not in repr(config)


@pytest.mark.parametrize("key", ["password", "token"])
def test_a_reference_to_a_credential_becomes_its_name(key):
    settings = {"base_url": "https://example.org/x", key: {"_secret": "mine"}}

    config = HTTPConfig.model_validate(settings)

    assert getattr(config, key) is None
    assert str(getattr(config, f"{key}_file")) == "mine"
    assert settings[key] == {"_secret": "mine"}, "the caller's settings are left alone"


@pytest.mark.parametrize(
    "config",
    [
        HTTPConfig(base_url="https://example.org", token=CANARY, password=CANARY),
        MQTTConfig(host="example.org", username="u", password=CANARY),
    ],
)
def test_secrets_are_in_no_text_that_is_shown(config):
    shown = [repr(config), str(config), str(config.model_dump()), f"{config}"]
    shown += [config.model_dump_json(), json.dumps(config.model_dump(mode="json"))]

    assert not [text for text in shown if CANARY in text]
    assert pickle.loads(pickle.dumps(config)) == config


def test_an_error_in_a_whole_program_configuration_hides_secrets_too():
    class Program(BaseModel):
        model_config = ConfigDict(extra="forbid")
        mqtt: MQTTConfig

    with pytest.raises(ValidationError) as caught:
        Program.model_validate({"mqtt": {"host": "", "password": CANARY, "x": 1}})

    assert CANARY not in str(caught.value)
