"""Taking secrets out of text, whoever wrote it."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["MASK", "SECRET_NAME", "Redactor", "mask_values"]

MASK = "**********"
"""What is shown in the place of a secret."""

SHORTEST = 4
"""Characters from which a known secret is looked for in every text. A shorter one is
masked where it is configured, not within other words."""

SECRET_NAME = re.compile(
    r"passw(or)?d|passphrase|secret|token|credential|api[_-]?key|private[_-]?key"
    r"|psk\b|authorization|cookie|\bpin\b|\bauth\b|[_-]key\b|^key$",
    re.IGNORECASE,
)
"""What a setting, header or variable with a secret is called."""

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
            r".*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        MASK,
    ),
    # User and password in an address.
    (re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s\"']*@", re.IGNORECASE), rf"\1{MASK}@"),
    # The query of an address, which may hold a key.
    (re.compile(r"(\w+://[^\s?\"'<>]+\?)[^\s\"'<>]+", re.IGNORECASE), rf"\1{MASK}"),
    (
        re.compile(r"\b(Basic|Bearer|Digest)(\s+)[\w.~+/=-]{4,}", re.IGNORECASE),
        rf"\1\2{MASK}",
    ),
    # password=..., "token": "...", psk: ...; but not {"_secret": NAME}, the name of a
    # credential.
    (
        re.compile(
            r"((?:passw(?:or)?d|passphrase|(?<![\"']_)secret|token|api[_-]?key|psk|requirepass)"
            r"\\?[\"']?\s*[=:]\s*)(\\?[\"'])?(?!None\b|null\b|[{\[]\s*[\\\"'])(?(2)[^\"'\n]*|[^\s\"',;})\]]+)",
            re.IGNORECASE,
        ),
        rf"\1\2{MASK}",
    ),
)


class Redactor:
    """Masks known secrets in texts, and what looks like one.

    Parameters
    ----------
    secrets
        The secrets of this sensor, as plain text.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret)}
        self.known = sorted(forms, key=lambda form: (-len(form), form))
        self._known = (
            re.compile("|".join(re.escape(form) for form in self.known))
            if self.known
            else None
        )

    def text(self, text: str) -> str:
        """Return a text with every secret in it masked."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text


def _forms(secret: str) -> Iterable[str]:
    """Yield the ways in which a secret may be written in a log or a file."""
    parts = [secret, *(line.strip() for line in secret.splitlines())]
    for part in parts:
        if len(part) < SHORTEST:
            continue
        yield part
        yield quote(part, safe="")
        yield quote_plus(part)
        yield json.dumps(part)[1:-1]
        yield json.dumps(part, ensure_ascii=False)[1:-1]
        yield repr(part)[1:-1]
        encoded = part.encode()
        yield encoded.hex()
        # Within other text, base64 begins at any of three offsets.
        for offset in range(3):
            whole = base64.b64encode(b"\0" * offset + encoded).decode().rstrip("=")
            inner = whole[-(-offset * 8 // 6) : (offset + len(encoded)) * 8 // 6]
            if len(inner) >= 2 * SHORTEST:
                yield inner


def mask_values(data: Any, mask: Callable[[tuple[str, ...]], bool]) -> Any:
    """Return JSON data with the values at some keys masked.

    Parameters
    ----------
    data
        What was read from a file.
    mask
        Tells of the path of keys to a text or number whether it must not be shown.
    """

    def visit(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, dict):
            return _items(value, path)
        if isinstance(value, list):
            return [visit(item, path) for item in value]
        shown = value is None or isinstance(value, bool) or not mask(path)
        return value if shown else MASK

    def _items(value: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        return {key: visit(item, (*path, key)) for key, item in value.items()}

    return visit(data, ())
