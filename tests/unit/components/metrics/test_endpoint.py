"""The figures are offered where the configuration says, and to nobody else."""

from __future__ import annotations

import http.client
import logging
import socket
import stat
import threading
import urllib.error
import urllib.request

import pytest
from pydantic import ValidationError

from acoupi import data
from acoupi.components.metrics import MetricsConfig, MetricsEndpoint
from acoupi.components.metrics import endpoint as module
from acoupi.testing import free_port, wait_until

FIGURES = [data.Metric(name="recordings", value=3)]


@pytest.fixture
def serve():
    """Return a function that starts an endpoint and waits until it listens."""
    started = []

    def serve(collect=lambda: FIGURES, **where):
        endpoint = MetricsEndpoint(MetricsConfig(**where), collect)
        started.append(endpoint)
        endpoint.start()
        return endpoint

    yield serve
    for endpoint in started:
        endpoint.stop()


class OverSocket(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self.path))


def get(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.headers, answer.read().decode()


def listens(port, host="127.0.0.1"):
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_the_figures_are_at_the_port(serve):
    port = free_port()
    serve(port=port)
    wait_until(lambda: listens(port))

    headers, text = get(f"http://127.0.0.1:{port}/metrics")

    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "acoupi_recordings_total 3\n" in text


def test_only_this_machine_reaches_the_port(serve):
    port = free_port()
    serve(port=port)
    wait_until(lambda: listens(port))

    # Another address of this very machine stands for the network.
    assert not listens(port, "127.0.0.2")


def test_the_figures_are_at_the_socket_for_user_and_group(serve, tmp_path):
    path = tmp_path / "run" / "metrics.sock"
    serve(socket=path)
    wait_until(path.exists)

    connection = OverSocket(path)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()

    assert "acoupi_recordings_total 3\n" in answer.read().decode()
    connection.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert list(path.parent.iterdir()) == [path]


def test_the_socket_of_a_process_that_was_killed_is_replaced(serve, tmp_path):
    path = tmp_path / "metrics.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    former = path.stat().st_ino
    serve(socket=path)

    wait_until(lambda: path.stat().st_ino != former)


def test_the_socket_is_gone_after_the_end_and_the_port_is_free(serve, tmp_path):
    path, port = tmp_path / "metrics.sock", free_port()
    endpoint = serve(socket=path, port=port)
    wait_until(lambda: path.exists() and listens(port))

    endpoint.stop()

    assert not path.exists()
    assert not listens(port)
    assert not [t for t in threading.enumerate() if t.name == "acoupi-metrics"]


@pytest.mark.parametrize("kind", ["file", "directory", "in use"])
def test_what_is_in_the_way_is_left_alone_and_named(serve, tmp_path, caplog, kind):
    path = tmp_path / "metrics.sock"
    other = socket.socket(socket.AF_UNIX)
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        other.bind(str(path))
        other.listen()
    before = path.stat().st_ino
    serve(socket=path)

    with other:
        wait_until(lambda: "cannot be offered" in caplog.text)

    assert path.stat().st_ino == before
    assert "metrics.socket" in caplog.text


def test_a_port_that_becomes_free_is_taken(serve, monkeypatch, caplog):
    monkeypatch.setattr(module, "RETRY_INTERVAL", 0.05)
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        serve(port=port)
        wait_until(lambda: "cannot be offered" in caplog.text)

    wait_until(lambda: listens(port))
    assert caplog.text.count("cannot be offered") == 1, "said once, not at each attempt"


@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b" 404 "),
        (b"GET /metrics/../../etc/passwd HTTP/1.0\r\n\r\n", b" 404 "),
        (b"POST /metrics HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", b" 501 "),
        (b"HEAD /metrics HTTP/1.0\r\n\r\n", b" 200 "),
        (b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", b" 200 "),
        (b"\x00\xff\r\n\r\n", b"400"),
        (b"GET /" + b"a" * 70000 + b" HTTP/1.0\r\n\r\n", b" 414 "),
        (b"GET /metrics HTTP/1.0\r\n" + b"a: b\r\n" * 200 + b"\r\n", b" 431 "),
    ],
)
def test_odd_requests_get_an_answer_and_no_more(serve, request_text, code):
    port = free_port()
    serve(port=port)
    wait_until(lambda: listens(port))

    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(request_text)
        answer = b""
        # What was not read of a request too long breaks the connection.
        try:
            while part := client.recv(65536):
                answer += part
        except ConnectionResetError:
            pass

    assert code in answer.splitlines()[0] or code in answer


def test_silent_clients_do_not_keep_others_from_the_figures(serve):
    port = free_port()
    serve(port=port)
    wait_until(lambda: listens(port))
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]

    for _ in range(3):
        assert get(f"http://127.0.0.1:{port}/metrics")

    names = [thread.name for thread in threading.enumerate()]
    wait_until(
        lambda: (
            sum(t.name == "acoupi-metrics-answer" for t in threading.enumerate())
            <= module.MOST_CONNECTIONS
        ),
        what=f"few threads instead of {names}",
    )
    for client in silent:
        client.close()


def test_figures_are_collected_once_a_second_at_most(serve, monkeypatch):
    monkeypatch.setattr(module, "FRESHNESS", 3600.0)
    asked = []
    port = free_port()
    serve(lambda: asked.append(1) or FIGURES, port=port)
    wait_until(lambda: listens(port))

    for _ in range(5):
        get(f"http://127.0.0.1:{port}/metrics")

    assert len(asked) == 1


def test_figures_that_fail_do_not_end_the_endpoint(serve, caplog):
    answers = [RuntimeError("the secret of the day"), None]

    def collect():
        error = answers.pop(0)
        if error is not None:
            raise error
        return FIGURES

    port = free_port()
    serve(collect, port=port)
    wait_until(lambda: listens(port))

    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"http://127.0.0.1:{port}/metrics")
    assert refused.value.code == 503
    assert "secret" not in refused.value.read().decode()
    refused.value.close()
    assert "acoupi_recordings_total" in get(f"http://127.0.0.1:{port}/metrics")[1]
    assert any(record.levelno == logging.WARNING for record in caplog.records)


def test_nothing_is_offered_by_default():
    assert not MetricsConfig().wanted


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"port": 0}, "greater than or equal to 1"),
        ({"port": 70000}, "less than or equal to 65535"),
        ({"socket": "metrics.sock"}, "full path"),
        ({"socket": "/" + "a" * 120}, "100 bytes"),
        ({"host": "0.0.0.0"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(values, said):
    with pytest.raises(ValidationError, match=said):
        MetricsConfig(**values)


def test_without_threads_to_answer_it_goes_on_as_soon_as_there_are(serve, monkeypatch):
    port = free_port()
    serve(port=port)
    wait_until(lambda: listens(port))
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "acoupi-metrics-answer":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises((OSError, http.client.HTTPException)):
            get(f"http://127.0.0.1:{port}/metrics")

    assert "acoupi_recordings_total 3\n" in get(f"http://127.0.0.1:{port}/metrics")[1]
