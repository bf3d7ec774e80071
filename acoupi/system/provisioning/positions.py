"""Where the keys of a TOML text are: lines, for messages to people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["find_line", "key_lines", "string_tokens"]

Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r"#[^\n]*"
    r'|"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_PART = r"(?:[A-Za-z0-9_-]+|\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*')"
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"^[ \t]*(\[\[?)[ \t]*({_DOTTED})[ \t]*\]")
_ASSIGNMENT = re.compile(rf"^[ \t]*({_DOTTED})[ \t]*=")


def string_tokens(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each quoted text of a TOML text begins and ends, keys included."""
    for token in _TOKEN.finditer(text):
        if not token[0].startswith("#"):
            yield token.span()


def key_lines(text: str) -> dict[Path, int]:
    """Return the line, from 1, of each section and each key that begins a line."""
    found: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    section: Path = ()
    for number, line in enumerate(_without_long_strings(text).split("\n"), 1):
        if header := _HEADER.match(line):
            section = _parts(header[2])
            if header[1] == "[[":
                count = counts.get(section, 0)
                counts[section] = count + 1
                found.setdefault(section, number)
                section = (*section, count)
            elif section[:1] in counts:
                # A section within the last of several.
                section = (section[0], counts[section[:1]] - 1, *section[1:])
            found.setdefault(section, number)
        elif assignment := _ASSIGNMENT.match(line):
            parts = _parts(assignment[1])
            for end in range(1, len(parts) + 1):
                found.setdefault((*section, *parts[:end]), number)
    return found


def find_line(lines: dict[Path, int], key: Sequence[str | int]) -> int | None:
    """Return the line of a key, or of the nearest that it is within."""
    path = tuple(key)
    while path:
        for candidate in (path, tuple(p for p in path if not isinstance(p, int))):
            if candidate in lines:
                return lines[candidate]
        path = path[:-1]
    return None


def _without_long_strings(text: str) -> str:
    def blank(token: re.Match[str]) -> str:
        return "".join("\n" for character in token[0] if character == "\n") or token[0]

    return _TOKEN.sub(blank, text)


def _parts(dotted: str) -> Path:
    return tuple(
        part[1:-1] if part[0] in "\"'" else part for part in re.findall(_PART, dotted)
    )
