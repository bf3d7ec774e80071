from __future__ import annotations

import logging
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acoupi import data
from acoupi.components import SqliteMessageStore
from acoupi.components.delivery import RetryPolicy
from acoupi.tasks import generate_send_messages_task
from acoupi.testing import FakeMessageStore, FakeMessenger, wait_until

SUCCESS, FAILED, ERROR, TIMEOUT = data.ResponseStatus

EAGER = RetryPolicy(first_delay=0, longest_delay=0)


@pytest.fixture(params=["sqlite", "plain"])
def store(request, tmp_path):
    if request.param == "plain":
        return FakeMessageStore()
    return SqliteMessageStore(tmp_path / "messages.db")


@pytest.fixture
def outbox(tmp_path):
    return SqliteMessageStore(tmp_path / "messages.db")


def fill(store, *contents):
    messages = [data.Message(content=content) for content in contents]
    for message in messages:
        assert store.store_message(message)
    return messages


def contents(messages):
    return [message.content for message in messages]


def test_messages_go_to_every_destination_in_order_once(store):
    one, two = FakeMessenger("one"), FakeMessenger("two")
    task = generate_send_messages_task(store, [one, two])
    fill(store, *"abcdefgh")

    task()
    task()

    assert contents(one.delivered) == list("abcdefgh")
    assert contents(two.delivered) == list("abcdefgh")
    assert store.get_unsent_messages() == []


def test_newest_first_takes_the_newest_first(store):
    messenger = FakeMessenger()
    task = generate_send_messages_task(store, [messenger], message_order="newest_first")
    fill(store, *"abc")

    task()

    assert contents(messenger.delivered) == list("cba")


def test_max_messages_bounds_a_run(store):
    messenger = FakeMessenger()
    task = generate_send_messages_task(store, [messenger], max_messages=2)
    fill(store, *"abcde")

    task()
    assert contents(messenger.delivered) == list("ab")
    task()
    assert contents(messenger.delivered) == list("abcd")


def test_news_do_not_wait_for_the_end_of_a_long_backlog(outbox):
    messenger = FakeMessenger()
    task = generate_send_messages_task(outbox, [messenger], max_messages=8)
    old = [f"old {number:02}" for number in range(40)]
    new = [f"new {number:02}" for number in range(10)]
    fill(outbox, *old)
    task()
    fill(outbox, *new[:5])
    task()
    assert contents(messenger.delivered)[8:] == [
        *(new[0], *old[8:11], new[1], *old[11:14])
    ]
    fill(outbox, *new[5:])
    for _ in range(5):
        task()
    arrived = contents(messenger.delivered)
    assert [content for content in arrived if content in old] == old
    assert [content for content in arrived if content in new] == new
    assert len(arrived) == len(old) + len(new)

    # The backlog is gone: all is in one order again.
    fill(outbox, *"abcde")
    task()
    fill(outbox, "f")
    task()
    assert contents(messenger.delivered)[-6:] == list("abcdef")


def test_a_run_that_suffices_keeps_one_order(outbox):
    messenger = FakeMessenger()
    task = generate_send_messages_task(outbox, [messenger])
    fill(outbox, *"abcdefgh")
    messenger.respond = lambda message: (
        fill(outbox, message.content.upper()) and SUCCESS
        if message.content.islower()
        else SUCCESS
    )
    task()
    assert contents(messenger.delivered) == list("abcdefghABCDEFGH")


def test_bytes_arrive_as_bytes(outbox):
    messenger = FakeMessenger()
    task = generate_send_messages_task(outbox, [messenger])
    fill(outbox, b"\x00\xff")

    task()

    assert contents(messenger.delivered) == [b"\x00\xff"]


@pytest.mark.parametrize("status", [ERROR, TIMEOUT])
def test_a_failing_destination_keeps_order_and_leaves_others_alone(store, status):
    up = threading.Event()
    bad = FakeMessenger("bad", lambda _: SUCCESS if up.is_set() else status)
    good = FakeMessenger("good")
    task = generate_send_messages_task(store, [bad, good], policy=EAGER)
    fill(store, *"abcdef")

    for _ in range(12):
        task()

    assert contents(good.delivered) == list("abcdef")
    assert bad.delivered == []
    assert len(store.get_unsent_messages()) == 6
    up.set()
    task()
    assert contents(bad.delivered) == list("abcdef")
    assert store.get_unsent_messages() == []


def test_one_failure_ends_the_run_for_that_destination(store):
    messenger = FakeMessenger(respond=lambda _: ERROR)
    task = generate_send_messages_task(store, [messenger], policy=EAGER)
    fill(store, *"abc")

    task()

    assert contents(messenger.tried) == ["a"]


def test_a_destination_that_backs_off_is_not_tried(store):
    messenger = FakeMessenger(respond=lambda _: ERROR)
    task = generate_send_messages_task(
        store, [messenger], policy=RetryPolicy(first_delay=1000)
    )
    fill(store, *"abc")

    for _ in range(5):
        task()

    assert len(messenger.tried) == 1


def test_a_refused_message_does_not_stop_the_others(store):
    messenger = FakeMessenger(respond=lambda m: FAILED if m.content == "b" else SUCCESS)
    task = generate_send_messages_task(store, [messenger])
    fill(store, *"abcd")

    task()

    assert contents(messenger.delivered) == list("acd")
    assert contents(store.get_unsent_messages()) == ["b"]


def test_a_message_refused_while_others_pass_is_parked_with_the_reason(outbox):
    messenger = FakeMessenger(respond=lambda m: FAILED if m.content == "x" else SUCCESS)
    task = generate_send_messages_task(
        outbox, [messenger], policy=RetryPolicy(first_delay=0, max_refusals=3)
    )
    fill(outbox, "x")
    for number in range(4):
        fill(outbox, str(number))
        task()

    assert contents(messenger.delivered) == list("0123")
    (parked,) = outbox.get_parked("fake")
    assert parked[0].content == "x"
    assert "FAILED" in parked[1]
    assert outbox.get_unsent_messages() == []


def test_nothing_is_parked_while_the_destination_refuses_everything(outbox):
    messenger = FakeMessenger(respond=lambda _: FAILED)
    task = generate_send_messages_task(outbox, [messenger], policy=EAGER)
    fill(outbox, *"abc")

    for _ in range(50):
        task()

    assert outbox.get_parked("fake") == []
    assert len(outbox.get_unsent_messages()) == 3


@pytest.mark.parametrize("bad", ["a", "abc"])
def test_messages_that_break_the_server_do_not_block_the_others(outbox, bad):
    messenger = FakeMessenger(respond=lambda m: ERROR if m.content in bad else SUCCESS)
    task = generate_send_messages_task(outbox, [messenger], policy=EAGER)
    fill(outbox, *"abcdefgh")

    for run in range(80):
        task()
        if run > 20:  # evidence needs messages that are accepted
            fill(outbox, f"new {run}")

    delivered = set(contents(messenger.delivered))
    assert delivered >= set("abcdefgh") - set(bad)
    assert {m.content for m, _ in outbox.get_parked("fake")} == set(bad)


def test_a_messenger_that_raises_or_answers_nonsense_loses_nothing(store, caplog):
    answers = iter([None, "sent", ValueError("boom"), OSError(), []])

    class Odd(FakeMessenger):
        def send_message(self, message):
            answer = next(answers, None)
            if isinstance(answer, Exception):
                raise answer
            return answer

    task = generate_send_messages_task(store, [Odd()], policy=EAGER)
    fill(store, *"ab")

    with caplog.at_level(logging.WARNING):
        for _ in range(6):
            task()

    assert len(store.get_unsent_messages()) == 2
    assert "returned NoneType, not a Response" in caplog.text
    assert "OSError" in caplog.text


def test_a_messenger_with_nothing_but_send_message_and_check_works(store):
    class Bare:
        def __init__(self):
            self.got = []

        def send_message(self, message):
            self.got.append(message.content)
            return data.Response(status=SUCCESS, message=message)

        def check(self):
            pass

    first, second = Bare(), Bare()
    task = generate_send_messages_task(store, [first, second])
    fill(store, *"ab")

    task()

    assert first.got == second.got == ["a", "b"]
    assert store.get_unsent_messages() == []


def test_a_slow_destination_does_not_delay_another(store):
    release = threading.Event()

    def wait(_message):
        release.wait(30)
        return SUCCESS

    slow, quick = FakeMessenger("slow", wait), FakeMessenger("quick")
    task = generate_send_messages_task(store, [slow, quick])
    fill(store, *"abc")
    run = threading.Thread(target=task)
    run.start()
    try:
        wait_until(lambda: len(quick.delivered) == 3)
        assert slow.delivered == []
    finally:
        release.set()
        run.join(30)
    assert contents(slow.delivered) == list("abc")


def test_a_run_is_bounded_and_what_hangs_is_looked_at_in_the_next(store, monkeypatch):
    monkeypatch.setattr("acoupi.tasks.send._GRACE", 0.1)
    release = threading.Event()

    def hang(_message):
        release.wait(30)
        return SUCCESS

    stuck, quick = FakeMessenger("stuck", hang), FakeMessenger("quick")
    task = generate_send_messages_task(store, [stuck, quick], max_duration=0.2)
    fill(store, *"ab")

    began = time.monotonic()
    task()
    task()
    assert time.monotonic() - began < 5
    assert contents(quick.delivered) == list("ab")
    assert len(stuck.tried) == 1, "a second connection to a stuck destination"

    release.set()
    wait_until(lambda: len(stuck.delivered) == 1)
    task()
    task()
    assert contents(stuck.delivered) == list("ab")
    assert store.get_unsent_messages() == []


def test_no_new_message_is_begun_after_the_time_is_over(store):
    def slow(_message):
        time.sleep(0.05)
        return SUCCESS

    messenger = FakeMessenger(respond=slow)
    task = generate_send_messages_task(store, [messenger], max_duration=0.2)
    fill(store, *[str(number) for number in range(100)])

    task()

    assert 1 <= len(messenger.delivered) < 20


def test_two_runs_at_once_send_nothing_twice(store):
    def slow(_message):
        time.sleep(0.01)
        return SUCCESS

    messenger = FakeMessenger(respond=slow)
    task = generate_send_messages_task(store, [messenger])
    fill(store, *"abcdefgh")

    runs = [threading.Thread(target=task) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()

    assert contents(messenger.tried) == list("abcdefgh")


def test_a_store_that_fails_after_the_delivery_does_not_lose_the_message(outbox):
    messenger = FakeMessenger()
    task = generate_send_messages_task(outbox, [messenger])
    fill(outbox, "a")
    original = outbox.mark_sent

    def fail(*_args):
        raise OSError("disk full")

    outbox.mark_sent = fail
    with pytest.raises(OSError, match="disk full"):
        task()
    outbox.mark_sent = original
    task()

    assert contents(messenger.delivered) == ["a", "a"]
    assert outbox.get_unsent_messages() == []


def test_batches_are_used_where_they_can_be_and_grow(store):
    sizes = []

    class Many(FakeMessenger):
        def send_messages(self, messages):
            sizes.append(len(messages))
            return [self.send_message(message) for message in messages]

    messenger = Many()
    task = generate_send_messages_task(store, [messenger])
    messages = fill(store, *[str(number) for number in range(200)])

    task()

    assert contents(messenger.delivered) == contents(messages)
    assert sizes[0] == 2
    assert max(sizes) == 64


def test_a_batch_that_breaks_off_is_taken_up_where_it_broke(store):
    answers = {"5": 3}

    class Many(FakeMessenger):
        def send_messages(self, messages):
            responses = []
            for message in messages:
                responses.append(self.send_message(message))
                if responses[-1].status is not SUCCESS:
                    break
            return responses

    def respond(message):
        if answers.get(message.content, 0) > 0:
            answers[message.content] -= 1
            return ERROR
        return SUCCESS

    messenger = Many(respond=respond)
    task = generate_send_messages_task(store, [messenger], policy=EAGER)
    messages = fill(store, *[str(number) for number in range(20)])

    for _ in range(4):
        task()

    assert contents(messenger.delivered) == contents(messages)


def test_failing_and_recovering_are_told_once_not_at_every_try(store, caplog):
    up = threading.Event()
    messenger = FakeMessenger(respond=lambda _: SUCCESS if up.is_set() else ERROR)
    task = generate_send_messages_task(
        store,
        [messenger],
        logger=logging.getLogger("sensor"),
        policy=RetryPolicy(first_delay=0, patience=10**6),
    )
    fill(store, "a")

    with caplog.at_level(logging.INFO, "sensor"):
        for _ in range(100):
            task()
        up.set()
        task()

    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 7  # after 1, 2, 4, ... 64 failures
    assert "takes messages again after 100 failures" in caplog.text


def test_a_messenger_that_ends_its_thread_counts_as_failed(store):
    def leave(_message):
        raise SystemExit

    messenger = FakeMessenger(respond=leave)
    task = generate_send_messages_task(store, [messenger], policy=EAGER)
    fill(store, "a")

    began = time.monotonic()
    task()

    assert time.monotonic() - began < 5
    assert len(messenger.tried) == 1
    assert len(store.get_unsent_messages()) == 1


@settings(deadline=None, max_examples=50)
@given(
    runs=st.lists(
        st.tuples(
            st.sampled_from([SUCCESS, ERROR, TIMEOUT]),
            st.integers(min_value=0, max_value=5),
            st.integers(min_value=0, max_value=5),
        ),
        max_size=30,
    ),
    batches=st.booleans(),
)
def test_over_any_history_of_outages_order_is_kept_and_nothing_lost(runs, batches):
    """Each run: how the destination fares, after how many messages, how many new."""
    store = FakeMessageStore()
    state = {"status": SUCCESS, "left": 0}

    def respond(_message):
        state["left"] -= 1
        return SUCCESS if state["left"] >= 0 else state["status"]

    class Destination(FakeMessenger):
        if batches:

            def send_messages(self, messages):
                responses = []
                for message in messages:
                    responses.append(self.send_message(message))
                    if responses[-1].status is not SUCCESS:
                        break
                return responses

    messenger, other = Destination(respond=respond), FakeMessenger("other")
    task = generate_send_messages_task(store, [messenger, other], policy=EAGER)
    everything = []
    for status, left, new in runs:
        everything += contents(
            fill(store, *[str(len(everything) + n) for n in range(new)])
        )
        state.update(status=status, left=left)
        task()
        assert contents(messenger.delivered) == everything[: len(messenger.delivered)]
        assert contents(other.delivered) == everything
        unsent = contents(store.get_unsent_messages())
        assert unsent == everything[len(messenger.delivered) :]

    state.update(status=SUCCESS)
    task()
    assert contents(messenger.delivered) == everything
    assert store.get_unsent_messages() == []


@settings(deadline=None, max_examples=50)
@given(
    fates=st.lists(
        st.lists(st.sampled_from(data.ResponseStatus), max_size=12), max_size=12
    ),
    runs=st.integers(min_value=1, max_value=30),
)
def test_whatever_the_answers_a_message_is_delivered_once_or_still_waits(fates, runs):
    store = FakeMessageStore()
    messages = fill(store, *[str(number) for number in range(len(fates))])
    script = {
        message.id: iter(fate) for message, fate in zip(messages, fates, strict=True)
    }
    messenger = FakeMessenger(respond=lambda m: next(script[m.id], SUCCESS))
    task = generate_send_messages_task(store, [messenger], policy=EAGER)

    for _ in range(runs):
        task()

    delivered = contents(messenger.delivered)
    assert len(delivered) == len(set(delivered))
    unsent = contents(store.get_unsent_messages())
    assert sorted(delivered + unsent) == sorted(contents(messages))
