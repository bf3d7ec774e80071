"""The Celery app of the sensor that is set up in a home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celery import Celery

    from acoupi.system.constants import CeleryConfig
    from acoupi.system.settings import Settings

__all__ = ["FIXED_OPTIONS", "celery_options", "get_celery_app", "make_app"]

FIXED_OPTIONS: dict[str, Any] = {
    "task_serializer": "json",
    "result_serializer": "json",
    "accept_content": ["json"],
    "event_serializer": "json",
    "enable_utc": True,
    # What a task found is in the store: nobody reads results.
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": False,
    "worker_send_task_events": False,
    "task_send_sent_event": False,
    # Every task claims what is pending and may run twice; one that was cut short by
    # the end of its worker is not acknowledged as done.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    # Nothing expires and nothing has an estimated time of arrival: a clock that is
    # set forward would drop or fire them all at once.
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "broker_connection_timeout": 4.0,
    "broker_pool_limit": 4,
    "task_publish_retry_policy": {
        "max_retries": 2,
        "interval_start": 0.05,
        "interval_step": 0.2,
        "interval_max": 0.3,
    },
    "beat_scheduler": "acoupi.system.scheduler:MonotonicScheduler",
    "worker_redirect_stdouts": False,
    "worker_enable_remote_control": True,
    "worker_hijack_root_logger": True,
    "worker_log_color": False,
    "worker_log_format": (
        "%(asctime)s %(levelname)s %(processName)s %(name)s: %(message)s"
    ),
    "worker_task_log_format": (
        "%(asctime)s %(levelname)s %(task_name)s %(name)s: %(message)s"
    ),
}
"""Options that a sensor depends on, whatever the configuration says."""

_REDIS_OPTIONS: dict[str, Any] = {
    # Celery's default hands a task that was not acknowledged within an hour to
    # another worker, by the wall clock: a clock that is set forward runs tasks twice.
    "visibility_timeout": 10**10,
    "socket_connect_timeout": 3.0,
    "socket_timeout": 20.0,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "retry_on_timeout": True,
    # How long a connection attempt of a publisher may insist: see kombu's
    # Connection.default_channel, which otherwise insists for ever.
    "max_retries": 1,
    "interval_start": 0.05,
    "interval_step": 0.2,
    "interval_max": 0.3,
}


def get_celery_app(settings: Settings | None = None) -> Celery:
    """Return the Celery app of the program that is set up, with its tasks.

    Parameters
    ----------
    settings : Settings, optional
        Default: the home named by ``ACOUPI_HOME``, else ``~/.acoupi``.

    Raises
    ------
    acoupi.errors.ConfigurationError
        If no program is set up, or it or its configuration is not valid.
    """
    from acoupi.system.configuration import (
        load_celery_config,
        load_config,
        read_program_name,
    )
    from acoupi.system.programs import load_program
    from acoupi.system.settings import Settings

    settings = settings or Settings()
    program_class = load_program(read_program_name(settings))
    return make_app(
        program_class,
        load_config(settings),
        load_celery_config(settings),
        settings,
    )


def make_app(
    program_class: Any,
    program_config: Any,
    celery_config: CeleryConfig,
    settings: Settings,
) -> Celery:
    """Return a Celery app with the tasks of a program.

    Parameters
    ----------
    program_class : type of AcoupiProgram
        The program.
    program_config : pydantic.BaseModel
        Its configuration.
    celery_config : CeleryConfig
        Broker and workers.
    settings : Settings
        The home; gives the embedded broker's socket and the directory of status
        files.

    Raises
    ------
    acoupi.errors.ConfigurationError
        If the program's set-up fails.
    """
    from celery import Celery

    from acoupi.errors import AcoupiError, ConfigurationError
    from acoupi.system.bootsteps import install

    app = Celery("acoupi", set_as_current=True)
    app.conf.update(celery_options(celery_config, settings))
    try:
        program = program_class(program_config=program_config, app=app)
    except AcoupiError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"the set-up of program {program_class.__module__} failed: "
            f"{type(error).__name__}: {error}"
        ) from error
    install(app, program, settings)
    return app


def celery_options(config: CeleryConfig, settings: Settings) -> dict[str, Any]:
    """Return the Celery options that a configuration amounts to."""
    broker_url = config.broker_url or f"redis+socket://{settings.broker_socket}"
    options: dict[str, Any] = {
        **FIXED_OPTIONS,
        "broker_url": broker_url,
        "worker_pool": config.pool,
        "timezone": config.timezone,
        "worker_max_tasks_per_child": config.max_tasks_per_child,
        "acoupi_run_dir": str(settings.run_dir),
        "acoupi_log_level": config.log_level,
        "acoupi_own_broker": config.broker_url is None,
    }
    if broker_url.startswith(("redis", "sentinel")):
        transport = dict(_REDIS_OPTIONS)
        if broker_url.startswith("redis+socket"):
            # A unix socket has no keepalive.
            del transport["socket_keepalive"]
        options["broker_transport_options"] = transport
    return options
