"""The Celery app has the options that a sensor depends on."""

from __future__ import annotations

import pytest

from acoupi.errors import ConfigurationError
from acoupi.programs import AcoupiProgram
from acoupi.programs.default import DefaultConfiguration, DefaultProgram
from acoupi.system import CeleryConfig, Settings
from acoupi.system.apps import celery_options, make_app


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("ACOUPI_HOME", str(tmp_path))
    return Settings(tmp_path)


def test_without_a_broker_url_the_embedded_one_of_the_home_is_used(settings):
    options = celery_options(CeleryConfig(), settings)
    assert options["broker_url"] == f"redis+socket://{settings.broker_socket}"
    assert options["acoupi_run_dir"] == str(settings.run_dir)
    assert options["worker_pool"] == "threads"


@pytest.mark.parametrize(
    "url", [None, "redis://x:1/0", "rediss://x/0", "sentinel://x", "redis+socket:///x"]
)
def test_no_task_is_redelivered_by_the_clock(settings, url):
    options = celery_options(CeleryConfig(broker_url=url), settings)
    transport = options["broker_transport_options"]
    assert transport["visibility_timeout"] >= 10**10
    assert ("socket_keepalive" in transport) == (
        url is not None and "socket:" not in url
    )


def test_other_brokers_get_no_options_of_redis(settings):
    options = celery_options(CeleryConfig(broker_url="memory://"), settings)
    assert "broker_transport_options" not in options


def test_nothing_expires_and_only_json_travels(settings):
    config = DefaultConfiguration(microphone={"source": "signal"})
    app = make_app(DefaultProgram, config, CeleryConfig(), settings)
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_ignore_result
    assert app.conf.broker_connection_max_retries is None
    for entry in app.conf.beat_schedule.values():
        assert set(entry) == {"task", "schedule"}
    assert app.acoupi_program.config == config


def test_a_program_whose_set_up_fails_is_an_error_for_people(settings):
    class Broken(AcoupiProgram[DefaultConfiguration]):
        def setup(self, config):
            raise OSError("no such sensor")

    class Refusing(AcoupiProgram[DefaultConfiguration]):
        def setup(self, config):
            raise ConfigurationError("choose another value")

    config = DefaultConfiguration(microphone={"source": "signal"})
    with pytest.raises(ConfigurationError, match="OSError: no such sensor"):
        make_app(Broken, config, CeleryConfig(), settings)
    with pytest.raises(ConfigurationError, match=r"^choose another value$"):
        make_app(Refusing, config, CeleryConfig(), settings)
