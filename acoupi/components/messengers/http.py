"""Messages as HTTP POST requests."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlsplit

from acoupi import data
from acoupi.components import types
from acoupi.components.messengers.secrets import read_secret, redact
from acoupi.components.messengers.tls import tls_context
from acoupi.errors import AcoupiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import httpx
    from pydantic import SecretStr

    from acoupi.components.messengers.configuration import HTTPConfig

__all__ = ["HTTPMessenger"]

_MAX_ANSWER_BYTES = 65536
_MAX_ANSWER_SHOWN = 500
_SHORTEST_KEY = 8

# Status codes (RFC 9110) that speak of this message and not of the server: any other
# refusal may end when the server or the configuration is mended.
_REFUSES_THE_MESSAGE = {400, 406, 411, 413, 414, 415, 422, 431, 451}

_TOO_SLOW = "no complete answer within {:g} s"


class HTTPMessenger(types.Messenger):
    """Posts each message to one address, over one connection that is kept open.

    A message counts as delivered only when the server answers 2xx. Redirects are not
    followed, because a redirected POST may end as a GET that stores nothing. The
    message's id is sent as ``Idempotency-Key``, so that the server can drop a message
    that reached it twice.

    Parameters
    ----------
    config
        The destination.
    name
        Name of the destination within the program.
    """

    def __init__(self, config: HTTPConfig, name: str = "http") -> None:
        self.config = config
        self.name = name
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._secrets: tuple[SecretStr | None, ...] = ()
        self._socket: socket.socket | None = None

    @classmethod
    def from_config(cls, config: HTTPConfig) -> Self:
        """Build the messenger of a destination; opens no connection."""
        return cls(config)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address!r}, name={self.name!r})"

    @property
    def _address(self) -> str:
        # A query may hold a key that is nobody's business.
        return self.config.base_url.partition("?")[0]

    def send_message(self, message: data.Message) -> data.Response:
        """Post one message.

        Returns
        -------
        data.Response
            SUCCESS on 2xx; FAILED when the server does not want this message (400,
            413, 415, 422 ...); TIMEOUT when it did not answer in time; ERROR when it
            cannot be reached or takes no message at all at present.
        """
        return self.send_messages([message])[0]

    def send_messages(self, messages: Sequence[data.Message]) -> list[data.Response]:
        """Post several messages, one after the other.

        Returns one response per message, in order, up to and with the first that is
        not SUCCESS; those after it are not sent.
        """
        responses: list[data.Response] = []
        with self._lock, self._watching() as watch:
            for message in messages:
                content = message.content
                status, answer = self._exchange(
                    watch,
                    "POST",
                    content.encode() if isinstance(content, str) else content,
                    {"Idempotency-Key": str(message.id)},
                )
                responses.append(
                    data.Response(status=status, message=message, content=answer)
                )
                if status is not data.ResponseStatus.SUCCESS:
                    break
        return responses

    def check(self) -> None:
        """Ask the server for an answer, without sending a message.

        A HEAD request is made. Any answer will do, as a server that takes POST
        requests need not know HEAD; but not a refused login (401, 403, 407) and not a
        failing server (5xx, save 501: "no such method").

        Raises
        ------
        AcoupiError
            When delivery cannot work; says why.
        """
        with self._lock, self._watching() as watch:
            status, answer = self._exchange(watch, "HEAD", None, {})
        code = answer.split(" ", maxsplit=1)[0]
        refused = code in {"401", "403", "407"} or (code[0] == "5" and code != "501")
        if status is not data.ResponseStatus.SUCCESS and (
            refused or not code.isdigit()
        ):
            raise AcoupiError(f"{self.name}: {self._address}: {answer}")

    def close(self) -> None:
        """Close the connection; the next message opens a new one.

        What is under way is cut off, and counts as not delivered.
        """
        self._cut_off()
        with self._lock:
            self._close()

    def _close(self) -> None:
        client, self._client = self._client, None
        self._socket = None
        if client is not None:
            client.close()

    def _exchange(
        self, watch: _Watch, method: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[data.ResponseStatus, str]:
        import httpx

        try:
            client = self._open()
        except AcoupiError as error:
            return data.ResponseStatus.ERROR, str(error)
        watch.begin()
        try:
            return self._request(client, method, body, headers)
        except httpx.TimeoutException:
            self._close()
            return data.ResponseStatus.TIMEOUT, _TOO_SLOW.format(self.config.timeout)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
            self._close()
            if watch.over:
                return data.ResponseStatus.TIMEOUT, _TOO_SLOW.format(watch.limit)
            return data.ResponseStatus.ERROR, self._explain(error)

    def _request(
        self,
        client: httpx.Client,
        method: str,
        body: bytes | None,
        headers: dict[str, str],
    ) -> tuple[data.ResponseStatus, str]:
        with client.stream(
            method,
            self.config.base_url,
            content=body,
            headers=headers,
            extensions={"trace": self._note_socket},
        ) as response:
            answer = b""
            # The status says it all: a body that is long or breaks off changes nothing.
            with contextlib.suppress(Exception):
                for chunk in response.iter_bytes():
                    answer += chunk
                    if len(answer) >= _MAX_ANSWER_BYTES:
                        break
            text = answer[:_MAX_ANSWER_SHOWN].decode(errors="replace").strip()
            code = response.status_code
            summary = f"{code} {response.reason_phrase}".strip()
            if response.is_redirect:
                target = response.headers.get("location", "?")
                text = f"redirected to {target}: set base_url to that address"
            elif code in {401, 403, 407}:
                text = (
                    "the server refuses this sensor: check token, username and "
                    f"password; {text}"
                )
        summary = redact(f"{summary}: {text}" if text else summary, self._secrets)
        if response.is_success:
            return data.ResponseStatus.SUCCESS, summary
        if code in _REFUSES_THE_MESSAGE:
            return data.ResponseStatus.FAILED, summary
        return data.ResponseStatus.ERROR, summary

    def _open(self) -> httpx.Client:
        if self._client is not None:
            return self._client
        import httpx

        # At lower levels these log every address and the headers of every answer.
        for name in ("httpx", "httpcore"):
            if not logging.getLogger(name).level:
                logging.getLogger(name).setLevel(logging.WARNING)
        config = self.config
        token = read_secret(config.token, config.token_file, "token_file")
        password = read_secret(config.password, config.password_file, "password_file")
        self._secrets = _as_sent(config, token, password)
        headers = {**config.headers, "Content-Type": config.content_type}
        if token is not None:
            bearer = config.token_header.lower() == "authorization"
            plain = token.get_secret_value()
            headers[config.token_header] = f"Bearer {plain}" if bearer else plain
        auth = None
        if config.username is not None or password is not None:
            auth = httpx.BasicAuth(
                config.username or "",
                "" if password is None else password.get_secret_value(),
            )
        encrypted = urlsplit(config.base_url).scheme == "https"
        self._client = httpx.Client(
            auth=auth,
            headers=headers,
            timeout=config.timeout,
            verify=tls_context(
                config.tls_ca_file, config.tls_cert_file, config.tls_key_file
            )
            if encrypted
            else False,
            limits=httpx.Limits(max_connections=1, keepalive_expiry=300),
        )
        return self._client

    def _note_socket(self, event: str, info: dict[str, Any]) -> None:
        if event in {
            "connection.connect_tcp.complete",
            "connection.start_tls.complete",
        }:
            self._socket = info["return_value"].get_extra_info("socket")

    @contextlib.contextmanager
    def _watching(self) -> Iterator[_Watch]:
        watch = _Watch(3 * self.config.timeout, self._cut_off)
        try:
            yield watch
        finally:
            watch.end()

    def _cut_off(self) -> None:
        if (current := self._socket) is not None:
            with contextlib.suppress(OSError):
                current.shutdown(socket.SHUT_RDWR)

    def _explain(self, error: Exception) -> str:
        reason = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            reason += (
                "; the server's certificate is not trusted: set tls_ca_file to the "
                "authority that signed it, and base_url to the name it was signed for"
            )
        return redact(reason, self._secrets)


def _as_sent(
    config: HTTPConfig, token: SecretStr | None, password: SecretStr | None
) -> tuple[SecretStr | None, ...]:
    """Return the secrets in every form in which a careless server may repeat them."""
    import base64

    from pydantic import SecretStr

    query = parse_qsl(urlsplit(config.base_url).query)
    # A shorter one is a word that the answer may need.
    keys = [SecretStr(value) for _, value in query if len(value) >= _SHORTEST_KEY]
    forms = [token, password, *keys]
    if password is not None:
        login = f"{config.username or ''}:{password.get_secret_value()}".encode()
        forms.append(SecretStr(base64.b64encode(login).decode()))
    return tuple(forms)


class _Watch:
    """Cuts an exchange off that takes too long as a whole.

    The client's own limits are per read: a server that sends a byte now and then would
    hold it for ever.
    """

    def __init__(self, limit: float, cut_off: Callable[[], None]) -> None:
        self.limit = limit
        self._cut_off = cut_off
        self._ends = float("inf")
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def over(self) -> bool:
        """Whether the time of this exchange is over."""
        return time.monotonic() >= self._ends

    def begin(self) -> None:
        """Start counting for the next exchange."""
        self._ends = time.monotonic() + self.limit
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="http-watch", daemon=True
            )
            self._thread.start()

    def end(self) -> None:
        """Stop watching."""
        self._done.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(max(0.0, self._ends - time.monotonic())):
            if self.over:
                self._cut_off()
                # The next exchange of the same batch is cut off in its turn.
                self._done.wait(0.1)
