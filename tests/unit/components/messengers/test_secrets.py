from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from acoupi.components.messengers.secrets import read_secret, redact
from acoupi.errors import ConfigurationError


def test_a_secret_is_read_from_its_file_without_the_line_end(tmp_path):
    file = tmp_path / "password"
    file.write_text(" pass word \n")

    secret = read_secret(None, file, "password_file")

    assert secret is not None
    assert secret.get_secret_value() == " pass word "


def test_a_bare_name_is_a_systemd_credential(tmp_path, monkeypatch):
    (tmp_path / "mqtt").write_text("secret\r\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    secret = read_secret(None, Path("mqtt"), "password_file")

    assert secret == SecretStr("secret")


def test_a_missing_credentials_directory_is_explained(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)

    with pytest.raises(ConfigurationError, match=r"password_file.*LoadCredential=mqtt"):
        read_secret(None, Path("mqtt"), "password_file")


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_an_unusable_file_is_named_with_its_key(tmp_path, content):
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        read_secret(None, file, "token_file")

    assert "token_file" in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_secret_given_directly_wins_and_none_stays_none(tmp_path):
    assert read_secret(SecretStr("a"), tmp_path / "no", "k") == SecretStr("a")
    assert read_secret(None, None, "k") is None


def test_secrets_are_masked_in_texts():
    text = redact("token abc, password xyz", [SecretStr("abc"), None, SecretStr("")])

    assert text == "token **********, password xyz"
