"""Reading ``acoupi.toml``: bytes as they come from any editor, to data and lines.

What editors on laptops do to such a file is undone where there is one way to do so:
byte order marks, UTF-16, Windows line ends, typographic quotes and spaces. Anything
else is a problem with the line it is on.
"""

from __future__ import annotations

import codecs
import datetime
import difflib
import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

from acoupi.system.provisioning.outcome import Problem

__all__ = [
    "LARGEST_FILE",
    "MARKER",
    "Document",
    "looks_secret",
    "parse_toml",
    "read_document",
]

LARGEST_FILE = 256 * 1024
"""Bytes; a file that people write is smaller by far."""

MARKER = "(kept on the sensor)"
"""What stands in the file for a secret that was taken off it."""

_SECRET_NAMES = re.compile(r"(password|passphrase|passwd|psk|secret|token|api_?key)s?$")

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_DOUBLE = "\u201c\u201d\u201e\u201f\u2033"
_SINGLE = "\u2018\u2019\u201a\u201b\u2032"
_SPACES = "\u00a0\u202f\u2028\u200b\ufeff"
_STRAIGHT = str.maketrans(
    dict.fromkeys(_DOUBLE, '"')
    | dict.fromkeys(_SINGLE, "'")
    | dict(zip(_SPACES, (" ", " ", "\n", "", ""), strict=True))
)
_CURLY_VALUE = re.compile(rf"[=,\[]\s*[{_DOUBLE}{_SINGLE}]|[{_SPACES}]")
_POSITION = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)")
_BARE_VALUE = re.compile(r"^(\s*[\w.\"'-]+\s*=\s*)([^\s\"'\[{#].*?)\s*(?:#.*)?$")
_COMPLETE_VALUE = re.compile(r"^([+-]?[\d._]+|true|false)$")
_TRUTHS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_DECIMAL_COMMA = re.compile(r"^-?\d+,\d+$")


@dataclass(frozen=True)
class Document:
    """A file that was read."""

    text: str
    """Its text, as TOML."""
    data: dict[str, Any] | None
    """What it says, with dates and times as text; None when it cannot be read."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def looks_secret(key: str) -> bool:
    """Tell whether a key is called like a password or the like."""
    name = key.lower()
    if _SECRET_NAMES.search(name):
        return True
    # Of a misspelt name the value is a secret, too.
    close = difflib.get_close_matches(name, ("password", "passphrase"), n=1, cutoff=0.8)
    return bool(close)


def read_document(content: bytes) -> Document:
    """Read a file's content; whatever it is, this raises nothing."""
    if len(content) > LARGEST_FILE:
        return _unreadable(
            "", "the file is far too large to be a configuration: replace it"
        )
    if not content.strip(b"\0 \t\r\n"):
        return _unreadable(
            "", "the file is empty or damaged: write it again from the template"
        )
    text, problem = _decode(content)
    if problem is not None:
        return Document(text, None, [problem])
    # TOML wants line feeds, alone or after a carriage return.
    text = re.sub(r"\r(?!\n)", "\n", text)
    data, error = parse_toml(text)
    notes: list[str] = []
    if data is None:
        straight = "\n".join(
            line.translate(_STRAIGHT) if _CURLY_VALUE.search(line) else line
            for line in text.split("\n")
        )
        data, _ = parse_toml(straight)
        if data is not None:
            text = straight
            notes.append(
                "typographic quotes or spaces were read as plain ones; an editor for "
                "plain text does not write them"
            )
    if data is None:
        return Document(text, None, [_explain(error, text)])
    return Document(text, data, notes=notes)


def _unreadable(text: str, message: str) -> Document:
    return Document(text, None, [Problem(message)])


def _decode(content: bytes) -> tuple[str, Problem | None]:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            content, codec = content[len(mark) :], encoding
            break
    else:
        # Two bytes a character without a mark: every other one is zero.
        half = content[: len(content) // 2 * 2]
        zeros = half[1::2].count(0), half[::2].count(0)
        codec = "utf-8"
        if max(zeros) > 0.8 * len(half) / 2:
            codec = "utf-16-le" if zeros[0] > zeros[1] else "utf-16-be"
    try:
        return content.decode(codec), None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return "", Problem(
            "here is a character that is not UTF-8: save the file as UTF-8 "
            "(in Notepad: Save as, Encoding)",
            line=line,
        )


def parse_toml(text: str) -> tuple[dict[str, Any] | None, Exception | None]:
    """Return what a text says, dates and times as text; or None and the error."""
    try:
        plain = _plain(tomllib.loads(text))
    except (ValueError, RecursionError, OverflowError) as error:
        return None, error
    assert isinstance(plain, dict)
    return plain, None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value


def _explain(error: Exception | None, text: str) -> Problem:
    if isinstance(error, RecursionError):
        return Problem("brackets are nested far too deep: write it again")
    message = str(error)
    found = _POSITION.search(message)
    what = _POSITION.sub("", message)
    lines = text.split("\n")
    if found is None or found[1] is None:
        return Problem(
            f"the file ends too early ({what[:100]}): is a quote or bracket missing?",
            line=len(lines),
        )
    number = int(found[1])
    line = lines[number - 1].rstrip("\r") if number <= len(lines) else ""
    return Problem(_remedy(line, what), line=number, value=None)


def _remedy(line: str, what: str) -> str:
    """Say what is probably meant by a line that is no TOML."""
    name = line.split("=", maxsplit=1)[0].strip().strip("\"'")
    if looks_secret(name):
        return f'{name}: this is not understood; write it as {name} = "..."'
    shown = line.strip()[:80]
    return f"{shown}: {_meant(line) or _cause(line, what)}"


def _meant(line: str) -> str | None:
    """Return what to write for a value without quotes."""
    bare = _BARE_VALUE.match(line)
    if bare is None or "\\" in line:
        return None
    start, value = bare[1].strip(), bare[2].strip()
    if _DECIMAL_COMMA.match(value):
        return f"numbers have a point: {start} {value.replace(',', '.')}"
    truth = _TRUTHS.get(value.lower())
    if truth or value in {"True", "TRUE", "False", "FALSE"}:
        return f"write {start} {truth or value.lower()}"
    if _COMPLETE_VALUE.match(value):
        return None
    quoted = value.strip(f"\"'{_DOUBLE}").replace('"', "")[:60]
    return f'text needs quotes: {start} "{quoted}"'


def _cause(line: str, what: str) -> str:
    if "overwrite" in what or "declare" in what or "namespace" in what.lower():
        return "this is in the file twice: remove one of them"
    if line.count('"') % 2 or line.count("'") % 2:
        return "a quote is missing, or stands too early"
    if "\\" in line:
        return "a backslash in quotes is written twice: \\\\"
    if "=" not in line and not line.strip().startswith("["):
        return 'a line is NAME = "VALUE", or a remark after #'
    return f"this is not understood ({what[:100]})"
