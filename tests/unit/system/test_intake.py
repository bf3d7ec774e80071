"""What is no task's message is dropped, and the worker goes on."""

from __future__ import annotations

import pytest

from acoupi.system.intake import drop_what_is_not_understood


class LostConnectionError(Exception):
    pass


class Message:
    def __init__(self, error=None):
        self.error = error
        self.rejected = 0

    def reject_log_error(self, _logger, _errors):
        self.rejected += 1


class Consumer:
    connection_errors = (LostConnectionError,)
    channel_errors = ()

    def __init__(self):
        self.handled = []

    def create_task_handler(self):
        def handle(message):
            if message.error is not None:
                raise message.error
            self.handled.append(message)

        return handle


@pytest.fixture
def consumer():
    consumer = Consumer()
    drop_what_is_not_understood(consumer)
    return consumer


@pytest.mark.parametrize(
    "error",
    [ValueError("not enough values to unpack"), RecursionError(), KeyError("args")],
)
def test_a_message_that_makes_the_consumer_fail_is_dropped_and_told(
    consumer, caplog, error
):
    handle = consumer.create_task_handler()
    odd, good = Message(error), Message()

    handle(odd)
    handle(good)

    assert odd.rejected == 1
    assert consumer.handled == [good]
    assert type(error).__name__ in caplog.text


def test_a_lost_connection_is_the_consumers_own_affair(consumer):
    message = Message(LostConnectionError())

    with pytest.raises(LostConnectionError):
        consumer.create_task_handler()(message)

    assert message.rejected == 0


def test_the_end_of_the_worker_is_not_held_up(consumer):
    with pytest.raises(SystemExit):
        consumer.create_task_handler()(Message(SystemExit()))


def test_each_new_connection_handles_with_care(consumer):
    consumer.create_task_handler()
    odd = Message(ValueError())

    consumer.create_task_handler()(odd)

    assert odd.rejected == 1


@pytest.mark.parametrize("error", [ValueError, KeyError, TypeError, UnicodeDecodeError])
def test_what_is_no_message_at_all_makes_the_consumer_connect_anew(consumer, error):
    assert issubclass(error, consumer.connection_errors)
    assert not issubclass(MemoryError, consumer.connection_errors)
