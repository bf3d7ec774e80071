"""Messages as MQTT publications, delivered when the broker has acknowledged them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

from acoupi import data
from acoupi.components import types
from acoupi.components.messengers.mqtt_connection import Connection, NotConnectedError
from acoupi.errors import AcoupiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acoupi.components.messengers.configuration import MQTTConfig

__all__ = ["MQTTMessenger"]


class MQTTMessenger(types.Messenger):
    """Publishes each message to one topic, with QoS 1, on one long-lived connection.

    A message counts as delivered only when the broker's acknowledgement (PUBACK) has
    come and says so. With MQTT 5 the message's id is sent as the user property
    ``message_id`` and its time as ``created_on``.

    After any fault the connection is given up with everything that was under way on
    it, and the next message opens a new one: what is resent, and in which order, is
    decided by the outbox alone.

    Parameters
    ----------
    config
        The destination.
    name
        Name of the destination within the program.
    """

    def __init__(self, config: MQTTConfig, name: str = "mqtt") -> None:
        self.config = config
        self.name = name
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    @classmethod
    def from_config(cls, config: MQTTConfig) -> Self:
        """Build the messenger of a destination; opens no connection."""
        return cls(config)

    def __repr__(self) -> str:
        config = self.config
        return (
            f"{type(self).__name__}({config.host!r}, {config.port}, {config.topic!r}, "
            f"name={self.name!r})"
        )

    def send_message(self, message: data.Message) -> data.Response:
        """Publish one message and wait for the acknowledgement.

        Returns
        -------
        data.Response
            SUCCESS when acknowledged; FAILED when the broker does not want this
            message; TIMEOUT when it did not answer in time; ERROR when it cannot be
            reached or takes no message at all at present.
        """
        return self.send_messages([message])[0]

    def send_messages(self, messages: Sequence[data.Message]) -> list[data.Response]:
        """Publish several messages, up to ``max_inflight`` before the first answer.

        Returns one response per message, in order, up to and with the first that is
        not SUCCESS; those after it count as not sent.
        """
        if not messages:
            return []
        with self._lock:
            try:
                connection = self._connect()
            except NotConnectedError as error:
                return [
                    data.Response(
                        status=error.status, message=messages[0], content=str(error)
                    )
                ]
            try:
                responses = connection.publish(messages)
            except BaseException:
                self._close()
                raise
            if responses[-1].status is not data.ResponseStatus.SUCCESS:
                self._close()
            return responses

    def check(self) -> None:
        """Connect to the broker and log in.

        Raises
        ------
        AcoupiError
            When that cannot work; says why.
        """
        with self._lock:
            was_open = self._connection is not None
            try:
                self._connect()
            except NotConnectedError as error:
                raise AcoupiError(
                    f"{self.name}: {self.config.host}:{self.config.port}: {error}"
                ) from None
            if not was_open:
                self._close()

    def close(self) -> None:
        """Close the connection; the next message opens a new one.

        What is under way is cut off, and counts as not delivered.
        """
        if (connection := self._connection) is not None:
            connection.give_up("the connection was closed")
        with self._lock:
            self._close()

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Connection:
        if self._connection is not None and self._connection.lost is None:
            return self._connection
        self._close()
        connection = Connection(self.config)
        try:
            connection.open()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection
