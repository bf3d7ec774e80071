"""What a user says about a destination of messages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from acoupi.components.messengers.secrets import secrets_from_files

__all__ = ["HTTPConfig", "MQTTConfig"]

_UNSAFE_HEADERS = {"authorization", "cookie", "proxy-authorization"}

PasswordFile = Annotated[
    Path | None,
    Field(
        description="File that holds the password, or the name of a systemd credential."
    ),
]
AuthoritiesFile = Annotated[
    Path | None,
    Field(
        description="Certificates (PEM) of the authorities to trust; default: the "
        "system's."
    ),
]
CertificateFile = Annotated[
    Path | None, Field(description="Certificate (PEM) that identifies this sensor.")
]
KeyFile = Annotated[
    Path | None,
    Field(
        description="Private key (PEM) of the certificate, when it is not in the same "
        "file."
    ),
]


def _only_one(value: Path | None, info: ValidationInfo, other: str) -> Path | None:
    # Both are refused because it would be unclear which one counts after a change.
    if value is not None and info.data.get(other) is not None:
        raise ValueError(f"{other} is given too: keep only one of the two")
    return value


class _Destination(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    secret_fields: ClassVar[tuple[str, ...]] = ("password",)

    @model_validator(mode="before")
    @classmethod
    def _take_secret_references(cls, values: Any) -> Any:
        return secrets_from_files(values, cls.secret_fields)

    @field_validator("tls_key_file", check_fields=False)
    @classmethod
    def _key_needs_certificate(
        cls, value: Path | None, info: ValidationInfo
    ) -> Path | None:
        if value is not None and info.data.get("tls_cert_file") is None:
            raise ValueError("a client key needs its certificate: set tls_cert_file")
        return value

    @field_validator("password_file", check_fields=False)
    @classmethod
    def _one_password(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return _only_one(value, info, "password")


class HTTPConfig(_Destination):
    """An HTTP server that takes messages as POST requests."""

    secret_fields: ClassVar[tuple[str, ...]] = ("password", "token")

    base_url: str = Field(
        description="Address messages are posted to, beginning with http:// or "
        "https://.",
        examples=["https://example.org/sensors/messages"],
    )
    content_type: str = Field(
        default="application/json", description="Content type of the messages."
    )
    timeout: float = Field(
        default=5,
        gt=0,
        le=300,
        description="Seconds to wait for each step: connecting, sending, the answer. "
        "A whole delivery ends after three times as long.",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="More headers to send. Not for secrets: those belong to token or "
        "password.",
    )
    token: SecretStr | None = Field(
        default=None, description="Secret token that the server asks for."
    )
    token_file: Path | None = Field(
        default=None,
        description="File that holds the token, or the name of a systemd credential.",
    )
    token_header: str = Field(
        default="Authorization",
        pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
        description="Header that carries the token: as 'Bearer TOKEN' in "
        "Authorization, bare in any other.",
    )
    username: str | None = Field(
        default=None, description="User name for basic authentication."
    )
    password: SecretStr | None = Field(
        default=None, description="Password for basic authentication."
    )
    password_file: PasswordFile = None
    tls_ca_file: AuthoritiesFile = None
    tls_cert_file: CertificateFile = None
    tls_key_file: KeyFile = None

    @model_validator(mode="before")
    @classmethod
    def _move_credentials_out_of_the_url(cls, values: Any) -> Any:
        # A URL is shown in logs and errors, a SecretStr is not.
        if not isinstance(values, dict) or not isinstance(values.get("base_url"), str):
            return values
        try:
            parts = urlsplit(values["base_url"])
        except ValueError:
            return values
        if "@" not in parts.netloc:
            return values
        user, _, host = parts.netloc.rpartition("@")
        name, _, password = user.partition(":")
        changed = {**values, "base_url": urlunsplit(parts._replace(netloc=host))}
        changed.setdefault("username", unquote(name))
        if password:
            changed.setdefault("password", SecretStr(unquote(password)))
        return changed

    @field_validator("base_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname)
            usable = usable and parts.port != 0
        except ValueError:
            usable = False
        if not usable or any(character.isspace() for character in value):
            raise ValueError(
                "must be an address like https://example.org/messages, beginning with "
                "http:// or https://"
            )
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if name.lower() in _UNSAFE_HEADERS:
                raise ValueError(
                    f"{name} would show a secret: use token, or username and password"
                )
            if any(mark in name + content for mark in "\r\n\0"):
                raise ValueError(f"{name!r} has a line break in it")
        return value

    @field_validator("token_file")
    @classmethod
    def _one_token(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        return _only_one(value, info, "token")


class MQTTConfig(_Destination):
    """An MQTT broker that takes messages on a topic."""

    host: str = Field(
        min_length=1,
        description="Name or address of the broker; the socket's path when transport "
        "is unix.",
        examples=["mqtt.example.org"],
    )
    username: str | None = Field(default=None, description="User name on the broker.")
    password: SecretStr | None = Field(
        default=None, description="Password on the broker."
    )
    password_file: PasswordFile = None
    topic: str = Field(
        default="acoupi",
        min_length=1,
        max_length=65535,
        description="Topic that messages are published to.",
    )
    port: int = Field(
        default=1884,
        ge=1,
        le=65535,
        description="TCP port of the broker (usual: 1883, with TLS 8883).",
    )
    timeout: float = Field(
        default=5,
        gt=0,
        le=300,
        description="Seconds to wait for the connection and for each acknowledgement.",
    )
    use_tls: bool = Field(
        default=False,
        description="Encrypt the connection and check the broker's certificate.",
    )
    transport: Literal["tcp", "websockets", "unix"] = Field(
        default="tcp", description="How the broker is reached."
    )
    protocol_version: Literal["5", "3.1.1"] = Field(
        default="5",
        description="Version of MQTT; 3.1.1 only for a broker that knows no 5: it "
        "carries no message id and hides why a message was refused.",
    )
    client_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="Name of this client, unique on the broker; default: a random one.",
    )
    keepalive: int = Field(
        default=60,
        ge=5,
        le=65535,
        description="Seconds of silence after which the connection is probed.",
    )
    max_inflight: int = Field(
        default=20,
        ge=1,
        le=1000,
        description="Messages sent before the first must have been acknowledged.",
    )
    websocket_path: str = Field(
        default="/mqtt", description="Path on the server when transport is websockets."
    )
    tls_ca_file: AuthoritiesFile = None
    tls_cert_file: CertificateFile = None
    tls_key_file: KeyFile = None

    @field_validator("topic")
    @classmethod
    def _check_topic(cls, value: str) -> str:
        if any(mark in value for mark in "+#\0"):
            raise ValueError("must not contain '+' or '#': they are for subscribers")
        return value
