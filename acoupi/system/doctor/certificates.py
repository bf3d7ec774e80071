"""From when to when a certificate holds, read from its file."""

from __future__ import annotations

import base64
import datetime
import re
from pathlib import Path

__all__ = ["validity"]

_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL
)

_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17


def validity(path: Path) -> tuple[datetime.datetime, datetime.datetime]:
    """Return from when to when the first certificate of a PEM file holds, in UTC.

    The standard library tells it of connections and of authorities only.

    Raises
    ------
    OSError
        When the file cannot be read.
    ValueError
        When there is no certificate in it.
    """
    match = _PEM.search(path.read_bytes())
    if match is None:
        raise ValueError("there is no certificate in PEM format in it")
    try:
        return _validity(base64.b64decode(match[1], validate=False))
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("the certificate in it is damaged") from error


def _validity(content: bytes) -> tuple[datetime.datetime, datetime.datetime]:
    # Certificate, TBSCertificate, then its fields in order: RFC 5280, section 4.1.
    _, certificate, _ = _element(content)
    _, fields, _ = _element(certificate)
    kind, _, rest = _element(fields)
    if kind == _VERSION:
        _, _, rest = _element(rest)
    for _ in ("signature algorithm", "issuer"):
        _, _, rest = _element(rest)
    kind, times, _ = _element(rest)
    if kind != _SEQUENCE:
        raise ValueError("the certificate in it is damaged")
    kind, begins, rest = _element(times)
    first = _moment(kind, begins)
    kind, ends, _ = _element(rest)
    return first, _moment(kind, ends)


def _element(content: bytes) -> tuple[int, bytes, bytes]:
    """Split off the first element (DER): its tag, its content, and the rest."""
    length, start = content[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(content[2:start], "big")
    return content[0], content[start : start + length], content[start + length :]


def _moment(kind: int, text: bytes) -> datetime.datetime:
    digits = text.decode("ascii").rstrip("Z")
    if kind == _UTC_TIME:
        # Two digits of the year: from 50 on of the last century, RFC 5280.
        digits = ("19" if digits[0] >= "5" else "20") + digits
    return datetime.datetime.strptime(digits, "%Y%m%d%H%M%S").replace(
        tzinfo=datetime.UTC
    )
