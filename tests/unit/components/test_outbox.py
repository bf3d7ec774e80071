"""Messages wait until each destination has acknowledged them."""

# ruff: noqa: PT012  transactions are undone by raising inside them

import datetime

import pytest

from acoupi import data
from acoupi.components.outbox import UNCONFIGURED, OutboxCounts, SqliteMessageStore
from acoupi.components.stores import SqliteStore

OK = data.ResponseStatus.SUCCESS
NOW = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)


@pytest.fixture
def outbox(tmp_path) -> SqliteMessageStore:
    return SqliteMessageStore(tmp_path / "acoupi.db", ["mqtt", "http"])


def put(outbox, *contents):
    messages = [data.Message(content=content) for content in contents]
    for message in messages:
        assert outbox.store_message(message)
    return messages


def answer(message, status=OK, **fields):
    return data.Response(status=status, message=message, **fields)


def test_text_and_bytes_come_back_as_they_were(outbox):
    messages = put(outbox, "é", b"\x00\xff", "")
    assert outbox.due("mqtt") == messages
    assert [type(m.content) for m in outbox.due("mqtt")] == [str, bytes, str]


def test_a_message_known_already_is_not_queued_again(outbox):
    (message,) = put(outbox, "a")
    assert outbox.store_message(message) is False
    outbox.mark_sent(message, "mqtt")
    assert outbox.store_message(message) is False
    assert outbox.due("mqtt") == []
    assert outbox.due("http") == [message]


def test_destinations_are_independent(outbox):
    one, two = put(outbox, "1", "2")
    outbox.mark_sent(one, "mqtt", answer(one))
    outbox.park(two, "mqtt", "too large")
    assert outbox.due("mqtt") == []
    assert outbox.due("http") == [one, two]
    assert outbox.get_unsent_messages() == [one, two]
    assert outbox.get_parked("mqtt") == [(two, "too large")]
    assert outbox.counts() == {
        "mqtt": OutboxCounts(sent=1, parked=1),
        "http": OutboxCounts(waiting=2),
    }


def test_order_is_that_of_storing_whatever_the_clock_said(outbox):
    late = data.Message(content="late", created_on=NOW + datetime.timedelta(days=999))
    early = data.Message(content="early", created_on=NOW)
    outbox.store_message(late)
    outbox.store_message(early)
    assert outbox.due("mqtt") == [late, early]
    assert outbox.due("mqtt", newest_first=True, limit=1) == [early]


def test_a_failed_message_waits_until_its_time(outbox):
    (message,) = put(outbox, "a")
    retry_on = NOW + datetime.timedelta(minutes=1)
    failed = answer(message, data.ResponseStatus.FAILED, received_on=NOW)
    outbox.mark_failed(message, "mqtt", failed, retry_on)
    assert outbox.due("mqtt", now=NOW) == []
    assert outbox.due("mqtt", now=retry_on) == [message]
    assert outbox.attempts(message, "mqtt") == 1
    assert outbox.attempts(message, "http") == 0


def test_a_clock_set_back_does_not_make_messages_wait_longer(outbox):
    (message,) = put(outbox, "a")
    failed = answer(message, data.ResponseStatus.FAILED, received_on=NOW)
    outbox.mark_failed(message, "mqtt", failed, NOW + datetime.timedelta(minutes=1))
    year_before = NOW - datetime.timedelta(days=365)
    assert outbox.due("mqtt", now=year_before) == [message]


def test_what_was_acknowledged_stays_so(outbox):
    (message,) = put(outbox, "a")
    outbox.mark_sent(message, "mqtt")
    outbox.mark_failed(message, "mqtt")
    outbox.park(message, "mqtt", "late news")
    assert outbox.counts()["mqtt"] == OutboxCounts(sent=1)


def test_one_response_can_settle_all_destinations(outbox):
    one, two = put(outbox, "1", "2")
    outbox.store_response(answer(one))
    outbox.store_response(answer(two, data.ResponseStatus.TIMEOUT))
    assert outbox.get_unsent_messages() == [two]
    assert outbox.attempts(two, "http") == 1


def test_messages_stored_before_a_destination_was_named_go_to_all(tmp_path):
    path = tmp_path / "acoupi.db"
    nameless = SqliteMessageStore(path)
    (message,) = put(nameless, "a")
    assert nameless.get_unsent_messages() == [message]
    outbox = SqliteMessageStore(path)
    outbox.set_destinations(["mqtt", "http"])
    assert outbox.due("mqtt") == outbox.due("http") == [message]
    # also later ones, from a process that knows no destinations
    (other,) = put(nameless, "b")
    assert outbox.due("mqtt") == [message, other]


def test_a_destination_that_is_removed_holds_nothing_up_and_may_return(outbox):
    (message,) = put(outbox, "a")
    outbox.set_destinations(["mqtt"])
    outbox.mark_sent(message, "mqtt")
    assert outbox.get_unsent_messages() == []
    assert outbox.get_parked("http") == [(message, UNCONFIGURED)]
    outbox.set_destinations(["mqtt", "http"])
    assert outbox.due("http") == [message]


def test_when_too_many_wait_the_oldest_expire_and_are_counted(tmp_path):
    outbox = SqliteMessageStore(tmp_path / "a.db", ["mqtt"], max_messages=5)
    messages = put(outbox, *map(str, range(8)))
    outbox.prune()
    assert outbox.due("mqtt") == messages[3:]
    assert outbox.counts()["mqtt"] == OutboxCounts(waiting=5, expired=3)


def test_the_bound_holds_without_anybody_asking(tmp_path):
    outbox = SqliteMessageStore(tmp_path / "a.db", ["mqtt"], max_messages=5)
    put(outbox, *map(str, range(250)))
    assert outbox.counts()["mqtt"].waiting <= 5 + 100


def test_the_bound_holds_over_many_short_lived_processes(tmp_path):
    for number in range(20):
        outbox = SqliteMessageStore(tmp_path / "a.db", ["mqtt"], max_messages=5)
        put(outbox, str(number))
    assert outbox.counts()["mqtt"].waiting == 5


def test_old_messages_expire_when_that_is_wanted(tmp_path):
    outbox = SqliteMessageStore(
        tmp_path / "a.db", ["mqtt"], max_age=datetime.timedelta(days=1)
    )
    old = data.Message(content="old", created_on=NOW - datetime.timedelta(days=2))
    new = data.Message(content="new", created_on=NOW)
    outbox.store_message(old)
    outbox.store_message(new)
    outbox.prune(NOW)
    assert outbox.due("mqtt") == [new]


def test_finished_messages_are_forgotten_but_stay_counted(tmp_path):
    outbox = SqliteMessageStore(tmp_path / "a.db", ["mqtt"], keep_finished=2)
    messages = put(outbox, *map(str, range(6)))
    for message in messages[:5]:
        outbox.mark_sent(message, "mqtt")
    outbox.prune()
    assert outbox.counts()["mqtt"] == OutboxCounts(waiting=1, sent=5)
    with outbox.database.reading() as connection:
        rows = connection.execute("SELECT count(*) FROM message").fetchone()
    assert rows == (3,)
    outbox.prune()
    assert outbox.counts()["mqtt"] == OutboxCounts(waiting=1, sent=5)


def test_the_outbox_joins_the_transaction_of_a_store_in_the_same_file(tmp_path):
    store = SqliteStore(tmp_path / "one.db")
    outbox = SqliteMessageStore(tmp_path / "one.db", ["mqtt"])
    with pytest.raises(RuntimeError), store.transaction():
        put(outbox, "a")
        raise RuntimeError
    assert outbox.due("mqtt") == []
