"""A program that records, keeps and sends messages."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from acoupi.programs.templates.basic import BasicProgram
from acoupi.programs.templates.configuration import MessagingProgramConfiguration

if TYPE_CHECKING:
    from acoupi.components import types

__all__ = ["MessagingProgram"]

MessagingConfigT = TypeVar("MessagingConfigT", bound=MessagingProgramConfiguration)


class MessagingProgram(BasicProgram[MessagingConfigT], Generic[MessagingConfigT]):
    """Records, keeps, and sends messages when there is a destination.

    Tasks beside those of `BasicProgram`, when HTTP or MQTT is configured:
    ``send_messages_task``, ``heartbeat_task`` and ``alarm_task``.
    """

    message_store: types.MessageStore
    messengers: list[types.Messenger]

    def setup(self, config: MessagingConfigT) -> None:
        """Make the message store, the messengers and their tasks, then the basics."""
        self._prepare_store(config)
        self.messengers = list(self.configure_messengers(config))
        self.message_store = self.configure_message_store(config)
        if self.messengers:
            self.register_send_messages_task(config)
            self.register_heartbeat_task(config)
            self.register_alarm_task(config)
        super().setup(config)

    def configure_message_store(self, config: MessagingConfigT) -> types.MessageStore:
        """Return where messages wait until they are delivered."""
        from acoupi.components import SqliteMessageStore

        # The task that sends names the destinations.
        return SqliteMessageStore(config.messaging.messages_db)

    def configure_messengers(self, config: MessagingConfigT) -> list[types.Messenger]:
        """Return who delivers messages; none when no destination is configured."""
        messengers: list[types.Messenger] = []
        if config.messaging.http is not None:
            from acoupi.components import HTTPMessenger

            messengers.append(HTTPMessenger.from_config(config.messaging.http))
        if config.messaging.mqtt is not None:
            from acoupi.components import MQTTMessenger

            messengers.append(MQTTMessenger.from_config(config.messaging.mqtt))
        return messengers

    def create_send_messages_task(
        self, config: MessagingConfigT
    ) -> Callable[[], object]:
        """Return the function that sends what waits."""
        from acoupi.tasks import generate_send_messages_task

        return generate_send_messages_task(
            message_store=self.message_store,
            messengers=self.messengers,
            logger=self.logger.getChild("messaging"),
            max_messages=config.messaging.max_messages,
            message_order=config.messaging.message_order,
        )

    def register_send_messages_task(self, config: MessagingConfigT) -> None:
        """Add ``send_messages_task``."""
        self.add_task(
            self.create_send_messages_task(config),
            schedule=datetime.timedelta(seconds=config.messaging.message_send_interval),
            name="send_messages_task",
        )

    def create_heartbeat_task(self, config: MessagingConfigT) -> Callable[[], object]:
        """Return the function that reports on the state of the sensor."""
        from acoupi.tasks import generate_heartbeat_task

        return generate_heartbeat_task(
            message_store=self.message_store,
            store=self.store,
            logger=self.logger.getChild("heartbeat"),
            collect=lambda: self.collect_metrics(config),
        )

    def register_heartbeat_task(self, config: MessagingConfigT) -> None:
        """Add ``heartbeat_task``."""
        self.add_task(
            self.create_heartbeat_task(config),
            schedule=datetime.timedelta(seconds=config.messaging.heartbeat_interval),
            name="heartbeat_task",
        )

    def create_alarm_task(
        self, config: MessagingConfigT
    ) -> Callable[[], object] | None:
        """Return the function that reports early when something is wrong."""
        from acoupi.tasks import generate_alarm_task

        if self.run_dir is None:
            return None
        return generate_alarm_task(
            self.create_heartbeat_task(config), self.run_dir / "recorder.json"
        )

    def register_alarm_task(self, config: MessagingConfigT) -> None:
        """Add ``alarm_task``, where a recorder says how it is."""
        from acoupi.tasks.alarm import LOOK_INTERVAL

        task = self.create_alarm_task(config)
        if task is not None:
            self.add_task(
                task,
                schedule=datetime.timedelta(seconds=LOOK_INTERVAL),
                name="alarm_task",
            )

    def check(self, config: MessagingConfigT) -> None:
        """Raise an error that names the remedy when the sensor cannot work."""
        super().check(config)
        for messenger in self.messengers:
            messenger.check()

    def worker_started(self, queues: Sequence[str]) -> None:
        """Tell, beside what `BasicProgram` does, that the sensor is there again."""
        super().worker_started(queues)
        if self.messengers and self.get_queue("heartbeat_task") in queues:
            self.call("heartbeat_task")

    def worker_stopping(self, queues: Sequence[str]) -> None:
        """Close connections, beside what `BasicProgram` does."""
        super().worker_stopping(queues)
        if self.messengers and self.get_queue("send_messages_task") in queues:
            for messenger in self.messengers:
                messenger.close()
