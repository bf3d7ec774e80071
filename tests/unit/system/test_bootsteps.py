"""What a worker does beside its tasks while it is connected."""

from __future__ import annotations

from types import SimpleNamespace

from acoupi.system.bootsteps import ConsumerStep
from acoupi.system.spare_memory import PERIOD, give_back


class Timer:
    """Notes what is to be called, as Celery's timer is told."""

    def __init__(self):
        self.calls = {}

    def call_repeatedly(self, seconds, call, arguments=()):
        self.calls[call] = (seconds, arguments)
        return SimpleNamespace(cancel=lambda: self.calls.pop(call))


class Consumer:
    connection_errors = channel_errors = ()

    def __init__(self):
        self.timer = Timer()
        self.connection = SimpleNamespace(default_channel=None)
        step = SimpleNamespace(
            condition=None, consumer_ready=lambda: None, consumer_lost=lambda: None
        )
        self.controller = SimpleNamespace(acoupi_step=step)

    def create_task_handler(self):
        raise AssertionError("No task is handed out here.")


def test_a_connected_worker_gives_spare_memory_back_from_time_to_time():
    consumer = Consumer()
    step = ConsumerStep(consumer)
    step.start(consumer)
    assert consumer.timer.calls[give_back] == (PERIOD, ())
    step.stop(consumer)
    assert not consumer.timer.calls
