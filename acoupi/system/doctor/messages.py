"""Messages and their destinations: reachable, trusted, and taking what is sent."""

from __future__ import annotations

import datetime
import socket
import sqlite3
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from acoupi.errors import AcoupiError
from acoupi.system.doctor.certificates import validity
from acoupi.system.doctor.findings import Finding, error, warning
from acoupi.system.doctor.sensor import Sensor
from acoupi.system.records import reading

__all__ = ["probe"]

PATIENCE = 3.0
"""Seconds that a destination has to take a connection."""

LATE = datetime.timedelta(hours=6)
"""How long a message may wait before it is a finding."""

SOON = datetime.timedelta(days=14)
"""Before its end a certificate is to be replaced."""

_DELIVERIES = """
SELECT destination,
    sum(state = 'waiting'), sum(state = 'parked'),
    min(CASE WHEN state = 'waiting' THEN created_on END)
FROM delivery JOIN message ON delivery.message = message.number
GROUP BY destination
"""

_LAST_ANSWER = """
SELECT status, answer FROM delivery
WHERE destination = ? AND state = ? AND tried_on IS NOT NULL
ORDER BY tried_on DESC LIMIT 1
"""


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the outbox and at each destination."""
    yield from _probe_outbox(sensor)
    for kind in ("mqtt", "http"):
        config = sensor.setting("messaging", kind)
        if isinstance(config, dict):
            faults = [*_probe_files(sensor, kind, config)]
            yield from faults
            if not any(fault.severity == "error" for fault in faults):
                yield from _probe_connection(kind, config)


def _probe_outbox(sensor: Sensor) -> Iterator[Finding]:
    path = sensor.path_setting("messaging", "messages_db")
    if path is None:
        return
    try:
        with reading(path) as connection:
            if connection is None:
                return
            for destination, waiting, parked, oldest in connection.execute(_DELIVERIES):
                yield from _probe_deliveries(
                    sensor, connection, destination, waiting, parked, oldest
                )
    except sqlite3.Error:
        # The database's own probe says so.
        return


def _probe_deliveries(
    sensor: Sensor,
    connection: sqlite3.Connection,
    destination: str,
    waiting: int,
    parked: int,
    oldest: str | None,
) -> Iterator[Finding]:
    name = destination or "no destination"
    if parked:
        yield warning(
            "messages-refused",
            "Messages were refused for good and set aside.",
            f"{parked} to {name}{_answer(connection, destination, 'parked')}",
            "correct what the answer names (topic, address, rights, content); they "
            "stay in the database and are not sent again",
        )
    said = _answer(connection, destination, "waiting")
    late = oldest is not None and _age(sensor, oldest) > LATE
    if waiting and (late or said):
        yield (error if late else warning)(
            "messages-late" if late else "messages-not-taken",
            "Messages wait: the destination does not take them.",
            f"{waiting} to {name}, the oldest of {str(oldest)[:16]} UTC{said}",
            "correct what the answer names, or wait until the destination is back: "
            "nothing is lost",
        )


def _age(sensor: Sensor, moment: str) -> datetime.timedelta:
    try:
        then = datetime.datetime.fromisoformat(moment)
    except ValueError:
        return datetime.timedelta()
    then = then if then.tzinfo else then.replace(tzinfo=datetime.UTC)
    return sensor.machine.now() - then


def _answer(connection: sqlite3.Connection, destination: str, state: str) -> str:
    row = connection.execute(_LAST_ANSWER, (destination, state)).fetchone()
    words = [str(word) for word in row or () if word]
    return f"; the last answer: {' '.join(words)[:200]}" if words else ""


def _probe_files(
    sensor: Sensor, kind: str, config: dict[str, Any]
) -> Iterator[Finding]:
    for key in ("tls_ca_file", "tls_cert_file"):
        value = config.get(key)
        if isinstance(value, str):
            key_name = f"messaging.{kind}.{key}"
            yield from _probe_certificate(sensor, key_name, Path(value).expanduser())
    for key in ("password_file", "token_file", "tls_key_file"):
        value = config.get(key)
        # A bare name is that of a credential, which only the services have.
        if not isinstance(value, str) or "/" not in value:
            continue
        path = Path(value).expanduser()
        if not path.is_file():
            yield error(
                "secret-missing",
                "A file with a secret is missing.",
                f"messaging.{kind}.{key} is {path}, which is not there",
                f"put it there, or: acoupi config set messaging.{kind}.{key} PATH",
            )
        elif path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            yield error(
                "secrets-exposed",
                "Others can read a file that holds a secret.",
                f"{path} has mode {stat.S_IMODE(path.stat().st_mode):o}",
                f"chmod 600 {path}",
            )


def _probe_certificate(sensor: Sensor, key: str, path: Path) -> Iterator[Finding]:
    change = f"put a valid one there, or: acoupi config set {key} PATH"
    try:
        begins, ends = validity(path)
    except OSError as problem:
        yield error(
            "certificate-missing",
            "A certificate cannot be read.",
            f"{key} is {path}: {problem.strerror}",
            change,
        )
        return
    except ValueError as problem:
        yield error(
            "certificate-damaged",
            "A certificate is none.",
            f"{key} is {path}: {problem}",
            change,
        )
        return
    now = sensor.machine.now()
    if now >= ends:
        yield error(
            "certificate-expired",
            "A certificate has expired.",
            f"{key}, {path}: it ended {ends:%Y-%m-%d %H:%M} UTC",
            f"{change}. See that the clock is right",
        )
    elif now < begins:
        yield error(
            "certificate-not-yet",
            "A certificate is not valid yet, or the clock is wrong.",
            f"{key}, {path}: it begins {begins:%Y-%m-%d %H:%M} UTC, and it is "
            f"{now:%Y-%m-%d %H:%M} UTC now",
            f"set the clock (`timedatectl`); else {change}",
        )
    elif now > ends - SOON:
        yield warning(
            "certificate-ends-soon",
            "A certificate will expire soon.",
            f"{key}, {path}: it ends {ends:%Y-%m-%d %H:%M} UTC",
            f"replace it before: {change}",
        )


def _probe_connection(kind: str, config: dict[str, Any]) -> Iterator[Finding]:
    """Take up a connection, and close it before anything is said."""
    target = _target(kind, config)
    if target is None:
        return
    host, port, encrypted = target
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), PATIENCE) as connection:
            if encrypted:
                _greet(connection, host, config)
    except ssl.SSLError as problem:
        reason = getattr(problem, "verify_message", "") or problem.reason
        yield error(
            "destination-not-trusted",
            "The encrypted connection to a destination is not set up.",
            f"{kind} {where}: {reason}",
            f"see that messaging.{kind} names the host as its certificate does, that "
            "tls_ca_file holds its authority, and that the clock is right",
        )
    except socket.gaierror as problem:
        yield warning(
            "destination-unknown",
            "The name of a destination is not known.",
            f"{kind} {where}: {problem.strerror}",
            f"see that messaging.{kind} is spelt right, and that the network has a "
            "name server (`resolvectl status`); messages wait until then",
        )
    except (OSError, AcoupiError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else None
        yield warning(
            "destination-unreachable",
            "A destination cannot be reached.",
            f"{kind} {where}: {reason or problem}",
            "look at the network, and at the receiver; messages wait until then",
        )


def _target(kind: str, config: dict[str, Any]) -> tuple[str, int, bool] | None:
    if kind == "mqtt":
        host, port = config.get("host"), config.get("port")
        if config.get("transport") == "unix" or not isinstance(port, int):
            return None
        return str(host), port, bool(config.get("use_tls"))
    try:
        parts = urlsplit(str(config.get("base_url")))
        encrypted = parts.scheme == "https"
        port = parts.port or (443 if encrypted else 80)
    except ValueError:
        return None
    return (parts.hostname, port, encrypted) if parts.hostname else None


def _greet(connection: socket.socket, host: str, config: dict[str, Any]) -> None:
    from acoupi.components.messengers.tls import tls_context

    def path(key: str) -> Path | None:
        value = config.get(key)
        return Path(value) if isinstance(value, str) else None

    context = tls_context(
        path("tls_ca_file"), path("tls_cert_file"), path("tls_key_file")
    )
    with context.wrap_socket(connection, server_hostname=host):
        return
