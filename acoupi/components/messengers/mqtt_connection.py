"""One MQTT connection: opened, used until its first fault, then given up."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from acoupi import data
from acoupi.components.messengers.secrets import read_secret, redact
from acoupi.components.messengers.tls import tls_context
from acoupi.errors import AcoupiError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode
    from pydantic import SecretStr

    from acoupi.components.messengers.configuration import MQTTConfig

__all__ = ["Connection", "NotConnectedError"]

_GOODBYE = 0.5
"""Seconds that closing waits for the last packet to leave."""

# Reason codes of PUBACK (MQTT 5.0, table 3.4.2.1) that speak of this message:
# payload format invalid, packet too large.
_REFUSES_THE_MESSAGE = {0x95, 0x99}

_REMEDIES = {
    0x84: "the broker does not know this version of MQTT: set protocol_version to "
    "3.1.1",
    0x85: "the broker does not accept the client_id",
    0x86: "check username and password",
    0x87: "the broker does not allow it: check username, password and what the "
    "broker lets this user publish to",
}


class NotConnectedError(Exception):
    """There is no connection to the broker; the text says why."""

    def __init__(
        self, reason: str, status: data.ResponseStatus = data.ResponseStatus.ERROR
    ) -> None:
        super().__init__(reason)
        self.status = status


class Connection:
    """One connection to the broker, used until its first fault."""

    def __init__(self, config: MQTTConfig) -> None:
        self.lost: str | None = None
        self._config = config
        self._changed = threading.Condition()
        self._welcome: ReasonCode | None = None
        self._farewell: ReasonCode | None = None
        self._largest_packet: int | None = None
        self._gone = False
        self._window = config.max_inflight
        self._acknowledges = True
        self._answers: dict[int, ReasonCode] = {}
        self._client: Client | None = None
        self._tls_socket: ssl.SSLSocket | None = None
        self._socket: socket.socket | None = None
        self._over_tcp = False
        self._secrets: tuple[SecretStr | None, ...] = ()

    def open(self) -> None:
        """Connect and log in; raise `NotConnectedError` when that does not work."""
        from paho.mqtt.client import WebsocketConnectionError

        config = self._config
        try:
            client = self._client = self._build_client()
            client.connect(config.host, config.port, keepalive=config.keepalive)
        except AcoupiError as error:
            raise NotConnectedError(str(error)) from None
        except TimeoutError:
            raise NotConnectedError(
                f"no connection within {config.timeout:g} s",
                data.ResponseStatus.TIMEOUT,
            ) from None
        except (OSError, ValueError, WebsocketConnectionError) as error:
            raise NotConnectedError(self._explain(error)) from None
        client.loop_start()
        with self._changed:
            self._changed.wait_for(
                lambda: self._welcome is not None or self.lost is not None,
                config.timeout,
            )
            if self._welcome is None:
                if self.lost is not None:
                    raise NotConnectedError(self.lost)
                raise NotConnectedError(
                    f"the broker did not answer within {config.timeout:g} s",
                    data.ResponseStatus.TIMEOUT,
                )
            if self._welcome.is_failure:
                raise NotConnectedError(_say(self._welcome))
            if not self._acknowledges:
                raise NotConnectedError(
                    "the broker takes only QoS 0, which it does not acknowledge: use "
                    "another broker or another of its listeners"
                )

    def give_up(self, reason: str) -> None:
        """Wait for no more answers."""
        with self._changed:
            self.lost = self.lost or reason
            self._changed.notify_all()

    def close(self) -> None:
        """Close the connection and end its thread; takes a second at most."""
        client, self._client = self._client, None
        if client is None:
            return
        # What was not acknowledged is sent again by the outbox, not by the client.
        with contextlib.suppress(Exception):
            client.disconnect()
            with self._changed:
                welcome = self._welcome is not None
                self._changed.wait_for(lambda: self._gone or not welcome, _GOODBYE)
        # A client that still has something to write does not end its thread by itself.
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)
        # Whatever it says of it: it is being given up.
        with contextlib.suppress(Exception):
            client.loop_stop()
        if self._socket is not None:
            self._socket.close()
        if self._tls_socket is not None:
            self._tls_socket.close()

    def publish(self, messages: Sequence[data.Message]) -> list[data.Response]:
        """Publish up to the first fault.

        Returns one response per message, in order, up to and with the first that is
        not SUCCESS. The connection is of no use after a fault.
        """
        responses: list[data.Response] = []
        under_way: list[tuple[int, data.Message]] = []
        waiting = list(reversed(messages))
        refused: data.Response | None = None
        while waiting or under_way:
            while waiting and refused is None and len(under_way) < self._window:
                message = waiting.pop()
                outcome = self._start(message)
                if isinstance(outcome, data.Response):
                    refused = outcome
                else:
                    under_way.append((outcome, message))
            if not under_way:
                break
            number, message = under_way.pop(0)
            response = self._await_answer(number, message, alone=not under_way)
            responses.append(response)
            if response.status is not data.ResponseStatus.SUCCESS:
                return responses
        if refused is not None:
            responses.append(refused)
        return responses

    def _start(self, message: data.Message) -> int | data.Response:
        """Hand a message to the client; return its packet number, or the refusal."""
        content = message.content
        body = content.encode() if isinstance(content, str) else content
        limit = self._largest_packet
        overhead = len(self._config.topic.encode()) + 200
        if limit is not None and len(body) + overhead > limit:
            return data.Response(
                status=data.ResponseStatus.FAILED,
                message=message,
                content=f"{len(body)} bytes are more than the broker accepts "
                f"({limit} bytes with everything)",
            )
        client = self._client
        assert client is not None
        try:
            info = client.publish(
                self._config.topic, body, qos=1, properties=self._properties(message)
            )
        except ValueError as error:
            return data.Response(
                status=data.ResponseStatus.FAILED, message=message, content=str(error)
            )
        return info.mid

    def _await_answer(
        self, number: int, message: data.Message, *, alone: bool
    ) -> data.Response:
        with self._changed:
            self._changed.wait_for(
                lambda: number in self._answers or self.lost is not None,
                self._config.timeout,
            )
            answer = self._answers.pop(number, None)
            lost = self.lost
            farewell = self._farewell
        status, content = data.ResponseStatus.SUCCESS, "acknowledged"
        if answer is not None:
            if answer.is_failure:
                content = _say(answer)
                status = _blame(answer)
        elif lost is not None:
            content = lost
            # With more under way it is unknown which one the broker did not like.
            status = data.ResponseStatus.ERROR
            if farewell is not None and alone:
                status = _blame(farewell)
        else:
            status = data.ResponseStatus.TIMEOUT
            content = f"not acknowledged within {self._config.timeout:g} s"
        return data.Response(status=status, message=message, content=content)

    def _properties(self, message: data.Message) -> Properties | None:
        if self._config.protocol_version != "5":
            return None
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it unannotated
        properties.UserProperty = [
            ("message_id", str(message.id)),
            ("created_on", message.created_on.isoformat()),
        ]
        return properties

    def _build_client(self) -> Client:
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        config = self._config
        new = config.protocol_version == "5"
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=config.client_id or f"acoupi-{uuid4().hex[:16]}",
            clean_session=None if new else True,
            protocol=paho.MQTTv5 if new else paho.MQTTv311,
            transport=config.transport,
            reconnect_on_failure=False,
        )
        client.connect_timeout = config.timeout
        client.max_inflight_messages_set(config.max_inflight)
        password = read_secret(config.password, config.password_file, "password_file")
        self._secrets = (password,)
        if config.username is not None or password is not None:
            plain = None if password is None else password.get_secret_value()
            client.username_pw_set(config.username or "", plain)
        if config.use_tls:
            client.tls_set_context(self._tls_context())
        if config.transport == "websockets":
            client.ws_set_options(path=config.websocket_path)
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _tls_context(self) -> ssl.SSLContext:
        config = self._config
        context = tls_context(
            config.tls_ca_file, config.tls_cert_file, config.tls_key_file
        )
        wrap = context.wrap_socket

        def wrap_and_remember(*args: Any, **kwargs: Any) -> ssl.SSLSocket:
            self._tls_socket = wrap(*args, **kwargs)
            return self._tls_socket

        # The client leaves the socket open when the handshake fails.
        context.wrap_socket = wrap_and_remember  # type: ignore[method-assign]  # one instance only
        return context

    def _on_socket_open(self, _client: Client, _data: Any, connection: Any) -> None:
        same = socket.socket(fileno=os.dup(connection.fileno()))
        self._socket = same
        self._over_tcp = same.family != socket.AF_UNIX
        if self._over_tcp:
            with contextlib.suppress(OSError):
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _on_connect(
        self, _client: Client, _data: Any, _flags: Any, reason: Any, properties: Any
    ) -> None:
        with self._changed:
            self._welcome = reason
            self._largest_packet = getattr(properties, "MaximumPacketSize", None)
            self._window = min(
                self._window, getattr(properties, "ReceiveMaximum", self._window)
            )
            self._acknowledges = getattr(properties, "MaximumQoS", 1) > 0
            self._changed.notify_all()

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: Any, reason: Any, _properties: Any
    ) -> None:
        with self._changed:
            self._gone = True
            if flags.is_disconnect_packet_from_server:
                self._farewell = reason
                self.lost = f"the broker closed the connection: {_say(reason)}"
            else:
                self.lost = self.lost or "the connection to the broker broke"
            self._changed.notify_all()

    def _on_publish(
        self, _client: Client, _data: Any, number: int, reason: Any, _properties: Any
    ) -> None:
        # A broker may hold back the next answer until it knows that we have this one,
        # which TCP tells it 40 ms late otherwise (RFC 896 meets RFC 1122).
        if self._over_tcp and self._socket is not None:
            with contextlib.suppress(OSError, AttributeError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        with self._changed:
            self._answers[number] = reason
            self._changed.notify_all()

    def _explain(self, error: Exception) -> str:
        reason = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            reason += (
                "; the broker's certificate is not trusted: set tls_ca_file to the "
                "authority that signed it, and host to the name it was signed for"
            )
        return redact(reason, self._secrets)


def _blame(reason: ReasonCode) -> data.ResponseStatus:
    if reason.value in _REFUSES_THE_MESSAGE:
        return data.ResponseStatus.FAILED
    return data.ResponseStatus.ERROR


def _say(reason: ReasonCode) -> str:
    remedy = _REMEDIES.get(reason.value)
    return f"{reason}; {remedy}" if remedy else str(reason)
