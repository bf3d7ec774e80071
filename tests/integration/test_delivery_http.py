"""Delivery over HTTP against a real server that behaves, and that does not."""

from __future__ import annotations

import base64
import json
import threading
import time

import pytest
from deliveries import EAGER, bodies, fill, waiting

from acoupi import data
from acoupi.components.delivery import RetryPolicy
from acoupi.errors import AcoupiError
from acoupi.tasks import generate_send_messages_task
from acoupi.testing import FakeMessenger, HTTPSink, free_port, wait_until

SUCCESS, FAILED, ERROR, TIMEOUT = data.ResponseStatus
CANARY = "c4n4ry-d0-n0t-sh0w"


@pytest.fixture
def messenger_to(http_messenger_to):
    return http_messenger_to


def test_messages_arrive_with_content_type_and_id(sink, messenger_to):
    messenger = messenger_to(sink.url, headers={"X-Site": "wood"})
    text, raw = data.Message(content='{"a": "ü"}'), data.Message(content=b"\x00\xff")

    assert messenger.send_message(text).status is SUCCESS
    assert messenger.send_message(raw).status is SUCCESS

    first, second = sink.received
    assert (first.method, first.path) == ("POST", "/messages")
    assert json.loads(first.body) == {"a": "ü"}
    assert first.headers["content-type"] == "application/json"
    assert first.headers["idempotency-key"] == str(text.id)
    assert first.headers["x-site"] == "wood"
    assert second.body == b"\x00\xff"
    assert sink.connections == 1, "the connection is kept"


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_2xx_is_success(sink, messenger_to, status):
    sink.status = status
    if status == 204:
        sink.answer = b""

    response = messenger_to(sink.url).send_message(data.Message(content="a"))

    assert response.status is SUCCESS


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (301, ERROR),
        (307, ERROR),
        (400, FAILED),
        (401, ERROR),
        (403, ERROR),
        (404, ERROR),
        (408, ERROR),
        (413, FAILED),
        (415, FAILED),
        (422, FAILED),
        (429, ERROR),
        (500, ERROR),
        (503, ERROR),
    ],
)
def test_nothing_else_is(sink, messenger_to, status, expected):
    sink.status = status

    response = messenger_to(sink.url).send_message(data.Message(content="a"))

    assert response.status is expected
    assert str(status) in response.content


def test_token_and_password_are_sent_as_asked(sink, messenger_to, tmp_path):
    file = tmp_path / "token"
    file.write_text("t0ken\n")
    send = data.Message(content="a")

    messenger_to(sink.url, token="t0ken").send_message(send)
    messenger_to(sink.url, token_file=file, token_header="X-Key").send_message(send)
    messenger_to(sink.url, username="me", password="pass").send_message(send)

    bearer, key, basic = [request.headers for request in sink.received]
    assert bearer["authorization"] == "Bearer t0ken"
    assert key["x-key"] == "t0ken"
    assert "authorization" not in key
    expected = base64.b64encode(b"me:pass").decode()
    assert basic["authorization"] == f"Basic {expected}"


def test_server_down_then_up(messenger_to, outbox):
    sink = HTTPSink(port=free_port())
    other = FakeMessenger("other")
    messenger = messenger_to(sink.url)
    task = generate_send_messages_task(outbox, [messenger, other], policy=EAGER)
    fill(outbox, 20)

    for _ in range(8):
        task()
    assert waiting(outbox, "http") == 20
    assert len(other.delivered) == 20
    with pytest.raises(AcoupiError, match="refused"):
        messenger.check()

    with sink:
        task()
    assert bodies(sink.accepted) == [str(n) for n in range(20)]
    assert waiting(outbox, "http") == 0


@pytest.mark.parametrize("status", [401, 403, 407])
def test_refused_login_never_counts_as_sent_and_shows_no_secret(
    sink, messenger_to, outbox, caplog, status
):
    sink.status = status
    messenger = messenger_to(sink.url, token=CANARY)
    # A server that echoes what it got, as debugging services do.
    sink.answer = f"you sent Bearer {CANARY}".encode()
    task = generate_send_messages_task(outbox, [messenger], policy=EAGER)
    fill(outbox, 5)

    with caplog.at_level(0):
        for _ in range(8):
            task()
        response = messenger.send_message(data.Message(content="a"))
        with pytest.raises(AcoupiError, match="check token") as caught:
            messenger.check()
    assert outbox.counts()["http"].sent == 0
    assert outbox.counts()["http"].parked == 0
    assert waiting(outbox, "http") == 5
    shown = [caplog.text, repr(messenger), repr(response), str(caught.value)]
    shown += [outbox.path.read_bytes().decode(errors="replace")]
    shown += [
        file.read_bytes().decode(errors="replace")
        for file in outbox.path.parent.iterdir()
        if file.is_file()
    ]
    assert not [text for text in shown if CANARY in text]

    sink.status = 200
    sink.received.clear()
    task()
    assert bodies(sink.accepted) == list("01234")


@pytest.mark.parametrize("manner", ["mute", "drip"])
def test_a_mute_or_dripping_server_costs_a_bounded_time_and_no_message(
    sink, messenger_to, outbox, manner
):
    sink.manner = manner
    other = FakeMessenger("other")
    # A byte now and then never exceeds the limit of a single read.
    timeout = 0.3
    messenger = messenger_to(sink.url, timeout=timeout)
    task = generate_send_messages_task(outbox, [messenger, other], policy=EAGER)
    fill(outbox, 5)

    began = time.monotonic()
    task()
    task()
    assert time.monotonic() - began < 2 * 3 * timeout + 2

    assert outbox.counts()["http"].sent == 0
    assert waiting(outbox, "http") == 5
    assert len(other.delivered) == 5
    sink.manner = "answer"
    task()
    assert bodies(sink.accepted) == list("01234")
    assert waiting(outbox, "http") == 0


def test_how_a_mute_server_is_reported(sink, messenger_to):
    sink.manner = "mute"

    response = messenger_to(sink.url, timeout=0.2).send_message(
        data.Message(content="a")
    )

    assert response.status is TIMEOUT


@pytest.mark.parametrize("manner", ["hang_up", "half"])
def test_a_server_that_dies_half_way_loses_and_swaps_nothing(
    sink, messenger_to, outbox, manner
):
    other = FakeMessenger("other")
    messenger = messenger_to(sink.url)
    policy = RetryPolicy(first_delay=0, patience=10**6)
    task = generate_send_messages_task(outbox, [messenger, other], policy=policy)
    fill(outbox, 10)

    def die_at_the_fourth(_request):
        if len(sink.accepted) == 3:
            sink.manner = manner
        return 200

    sink.judge = die_at_the_fourth
    for _ in range(5):
        task()
        assert outbox.counts()["http"].sent == len(sink.accepted) <= 4

    sink.judge = None
    sink.manner = "answer"
    task()
    assert bodies(sink.accepted) == [str(n) for n in range(10)]
    assert waiting(outbox, "http") == 0
    assert len(other.delivered) == 10


def test_a_killed_server_gets_the_rest_after_its_return(messenger_to, outbox):
    sink = HTTPSink()
    sink.start()
    task = generate_send_messages_task(outbox, [messenger_to(sink.url)], policy=EAGER)
    fill(outbox, 5)
    task()
    sink.stop()
    fill(outbox, 5, first=5)
    task()
    assert waiting(outbox, "http") == 5

    with sink:
        task()
    assert bodies(sink.accepted) == [str(n) for n in range(10)]


def test_a_slow_server_gets_everything_in_order(sink, messenger_to, outbox):
    sink.delay = 0.05
    other = FakeMessenger("other")
    task = generate_send_messages_task(outbox, [messenger_to(sink.url), other])
    fill(outbox, 20)

    task()

    assert bodies(sink.accepted) == [str(n) for n in range(20)]
    assert len(other.delivered) == 20


def test_a_bad_message_does_not_hold_up_the_others(sink, messenger_to, outbox):
    sink.judge = lambda request: 422 if request.body == b"2" else 200
    task = generate_send_messages_task(outbox, [messenger_to(sink.url)], policy=EAGER)
    fill(outbox, 6)

    for run in range(8):
        task()
        fill(outbox, 1, first=100 + run)

    assert bodies(sink.accepted)[:5] == ["0", "1", "3", "4", "5"]
    ((message, reason),) = outbox.get_parked("http")
    assert message.content == "2"
    assert "422" in reason


def test_redirects_are_not_followed_and_explained(sink, messenger_to):
    sink.status = 302

    response = messenger_to(sink.url).send_message(data.Message(content="a"))

    assert response.status is ERROR
    assert "base_url" in response.content
    assert len(sink.received) == 1


def test_a_huge_answer_is_not_read_whole(sink, messenger_to):
    sink.answer = b"x" * 5_000_000

    response = messenger_to(sink.url).send_message(data.Message(content="a"))

    assert response.status is SUCCESS
    assert len(response.content) < 1000


@pytest.mark.parametrize("status", [200, 404, 405, 501])
def test_check_accepts_a_server_that_knows_only_post(sink, messenger_to, status):
    sink.status = status

    messenger_to(sink.url).check()

    assert [request.method for request in sink.received] == ["HEAD"]


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_check_finds_what_would_stop_delivery(sink, messenger_to, status):
    sink.status = status

    with pytest.raises(AcoupiError, match=str(status)):
        messenger_to(sink.url).check()


def test_an_unknown_host_is_an_error_that_says_so(messenger_to):
    messenger = messenger_to("http://no-such-host.invalid/")

    response = messenger.send_message(data.Message(content="a"))

    assert response.status is ERROR
    assert response.content


def test_closing_does_not_wait_for_a_mute_server(sink, messenger_to):
    sink.manner = "mute"
    messenger = messenger_to(sink.url, timeout=60)
    found = []
    sender = threading.Thread(
        target=lambda: found.append(messenger.send_message(data.Message(content="a")))
    )
    sender.start()
    wait_until(lambda: sink.received)
    began = time.monotonic()
    messenger.close()
    sender.join(10)
    assert time.monotonic() - began < 5

    assert [response.status for response in found] == [ERROR]
