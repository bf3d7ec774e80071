"""Every path of a sensor derives from its home."""

from __future__ import annotations

from pathlib import Path

import pytest

from acoupi.system import Settings
from acoupi.system.settings import home_in_environment

PATHS = [name for name, value in vars(Settings).items() if isinstance(value, property)]


def test_the_default_home_is_in_the_users_home(monkeypatch, tmp_path):
    monkeypatch.delenv("ACOUPI_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().home == tmp_path / ".acoupi"


def test_the_environment_moves_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path / "x"))
    settings = Settings()
    paths = [getattr(settings, name) for name in PATHS]
    found = [path for path in paths if isinstance(path, Path)]
    assert len(found) > 10
    assert all(path.is_relative_to(tmp_path / "x") for path in found)


def test_the_argument_wins_over_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("ACOUPI_HOME", "/elsewhere")
    assert Settings(tmp_path).home == tmp_path
    assert Settings(home=str(tmp_path)).home == tmp_path


def test_a_relative_home_is_made_absolute_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = Settings("a/../b")
    monkeypatch.chdir("/")
    assert settings.home == tmp_path / "b"


def test_a_tilde_is_the_users_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings("~/sensor").home == tmp_path / "sensor"


def test_the_brokers_socket_is_in_the_home_when_its_path_is_short():
    assert Settings("/x").broker_socket == Path("/x/run/broker.sock")


def test_a_long_home_gets_a_short_socket_that_no_other_home_shares():
    one, other = Settings("/" + "x" * 200), Settings("/" + "y" * 200)
    assert len(str(one.broker_socket)) < 100
    assert one.broker_socket == Settings(one.home).broker_socket
    assert one.broker_socket != other.broker_socket


def test_the_home_in_the_environment_is_put_back(monkeypatch, tmp_path):
    import os

    monkeypatch.setenv("ACOUPI_HOME", "/former")
    with home_in_environment(tmp_path):
        assert Settings().home == tmp_path
    assert os.environ["ACOUPI_HOME"] == "/former"
    monkeypatch.delenv("ACOUPI_HOME")
    with home_in_environment(tmp_path):
        pass
    assert "ACOUPI_HOME" not in os.environ


def test_a_home_is_set_up_and_managed_as_its_files_say(tmp_path):
    settings = Settings(tmp_path)
    assert not settings.is_set_up
    assert settings.managed_by is None
    settings.config_dir.mkdir()
    settings.managed_file.write_text("services.acoupi\n")
    assert settings.managed_by == "services.acoupi"


@pytest.mark.parametrize("name", ["nonsense"])
def test_the_package_has_no_other_names(name):
    import acoupi.system

    with pytest.raises(AttributeError, match=name):
        getattr(acoupi.system, name)


def test_every_name_of_the_package_can_be_imported():
    import acoupi.system

    for name in acoupi.system.__all__:
        assert getattr(acoupi.system, name) is not None
