"""A deployment is known to the home and to the program, or to neither."""

from __future__ import annotations

import datetime
import os
import sys

import pytest

from acoupi import data
from acoupi.components.stores import SqliteStore
from acoupi.errors import AcoupiError, ConfigurationError
from acoupi.system import Settings, setup_program
from acoupi.system.deployments import (
    announce_deployment,
    end_deployment,
    get_current_deployment,
    get_last_deployment,
    start_deployment,
)

MODULE = "deployment_sample"
SOURCE = """
from pydantic import BaseModel
from acoupi.programs import AcoupiProgram

told = []
refuse = []

class Config(BaseModel):
    pass

class Sample(AcoupiProgram[Config]):
    config_schema = Config
    def setup(self, config):
        pass
    def on_start(self, deployment):
        if refuse:
            raise refuse[0]
        told.append(("start", deployment))
    def on_end(self, deployment):
        if refuse:
            raise refuse[0]
        told.append(("end", deployment))
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    (tmp_path / f"{MODULE}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop(MODULE, None)
    settings = Settings(tmp_path / "home")
    setup_program(settings, MODULE, {})
    yield settings
    sys.modules.pop(MODULE, None)


def program():
    return sys.modules[MODULE]


def test_none_is_under_way_at_first(settings):
    assert get_current_deployment(settings) is None
    assert get_last_deployment(settings) is None


def test_a_started_deployment_is_current_and_the_program_knows(settings):
    deployment = start_deployment(settings, "meadow", 51.5, -0.1)
    assert get_current_deployment(settings) == deployment
    assert (deployment.latitude, deployment.longitude) == (51.5, -0.1)
    assert program().told == [("start", deployment)]


def test_an_ended_deployment_is_the_last_and_the_program_knows(settings):
    started = start_deployment(settings, "meadow")
    ended = end_deployment(settings)
    assert ended.id == started.id
    assert ended.ended_on >= started.started_on
    assert get_current_deployment(settings) is None
    assert get_last_deployment(settings) == ended
    assert program().told[-1] == ("end", ended)


def test_a_clock_that_was_set_back_makes_no_deployment_of_negative_length(
    settings, monkeypatch
):
    deployment = start_deployment(settings, "meadow")
    earlier = deployment.started_on - datetime.timedelta(days=365)
    monkeypatch.setattr(data, "utc_now", lambda: earlier)
    assert end_deployment(settings).ended_on == deployment.started_on


def test_a_second_deployment_waits_for_the_end_of_the_first(settings):
    first = start_deployment(settings, "meadow")
    with pytest.raises(ConfigurationError, match="acoupi deployment end"):
        start_deployment(settings, "wood")
    end_deployment(settings)
    assert start_deployment(settings, "wood").id != first.id


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x", 91, 0), "latitude = 91"),
        (("x", 0, -181), "longitude = -181"),
        (("x", 10, None), "both"),
        ((" ", None, None), "name"),
    ],
)
def test_what_is_out_of_range_is_refused(settings, arguments, said):
    with pytest.raises(ConfigurationError, match=said):
        start_deployment(settings, *arguments)
    assert get_last_deployment(settings) is None


def test_ending_what_was_not_started_is_an_error(settings):
    with pytest.raises(ConfigurationError, match="acoupi deployment start"):
        end_deployment(settings)


@pytest.mark.parametrize("error", [AcoupiError("no disk"), KeyError("x")])
def test_a_program_that_refuses_leaves_things_as_they_were(settings, error):
    first = start_deployment(settings, "meadow")
    program().refuse.append(error)
    with pytest.raises(AcoupiError, match=r"no disk|KeyError"):
        end_deployment(settings)
    assert get_current_deployment(settings) == first
    program().refuse.clear()
    end_deployment(settings)
    program().refuse.append(error)
    last = get_last_deployment(settings)
    with pytest.raises(AcoupiError):
        start_deployment(settings, "wood")
    assert get_last_deployment(settings) == last


def test_a_home_that_is_not_set_up_has_no_deployments(tmp_path):
    with pytest.raises(ConfigurationError, match="acoupi setup"):
        start_deployment(Settings(tmp_path / "none"), "x")


@pytest.mark.parametrize("text", ["{", "{}", '{"name": 3}'])
def test_a_damaged_file_is_named(settings, text):
    settings.deployment_file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"deployment\.json"):
        get_current_deployment(settings)


def test_a_deployment_survives_another_setup(settings):
    deployment = start_deployment(settings, "meadow")
    setup_program(settings, MODULE, {})
    assert get_current_deployment(settings) == deployment


def test_a_program_set_up_later_is_told_of_the_deployment_once(settings):
    deployment = start_deployment(settings, "meadow")
    told = program().told
    sample = object.__new__(program().Sample)
    assert not announce_deployment(settings, sample)
    settings.program_file.write_text('{"other": 1}')
    assert announce_deployment(settings, sample)
    assert not announce_deployment(settings, sample)
    assert told == [("start", deployment)] * 2


def test_a_program_whose_store_was_begun_anew_is_told_again(settings, tmp_path):
    deployment = start_deployment(settings, "meadow")
    sample = object.__new__(program().Sample)
    sample.store = SqliteStore(tmp_path / "acoupi.db")
    sample.store.store_deployment(deployment)
    assert not announce_deployment(settings, sample)
    sample.store.database._set_aside("test")
    assert announce_deployment(settings, sample)
    assert program().told == [("start", deployment)] * 2


def test_there_is_nothing_to_tell_without_a_deployment(settings):
    start_deployment(settings, "meadow")
    end_deployment(settings)
    assert not announce_deployment(settings, object.__new__(program().Sample))


def test_root_leaves_no_files_of_its_own_in_the_home_of_a_user(settings):
    if os.geteuid() != 0:
        pytest.skip("needs root to give a home to somebody else")
    os.chown(settings.home, 1, 1)
    with pytest.raises(ConfigurationError, match="sudo -u daemon"):
        start_deployment(settings, "meadow")
    assert get_last_deployment(settings) is None
