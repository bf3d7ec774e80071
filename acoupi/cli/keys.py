"""The dotted keys that people name settings with on the command line."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import click

from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import BaseModel

__all__ = ["assignments_in", "look_up", "merge", "refuse_unknown"]


def assignments_in(given: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return keys and values of ``KEY``, ``KEY VALUE`` or ``KEY=VALUE...``."""
    if "=" not in given[0]:
        if len(given) > 2:
            raise click.UsageError(
                "one KEY and its VALUE, or several settings as KEY=VALUE, are expected"
            )
        return [(given[0], given[1] if len(given) == 2 else None)]
    pairs: list[tuple[str, str | None]] = []
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"{text!r} is not KEY=VALUE")
        pairs.append((key, value))
    return pairs


def refuse_unknown(schema: type[BaseModel], inner: str, key: str) -> None:
    """Raise an error when a schema has neither a setting nor a group of a key."""
    from acoupi.system.schemas import dotted, leaves_of

    known: set[str] = set()
    for leaf, _ in leaves_of(schema):
        known.update(dotted(leaf[:end]) for end in range(1, len(leaf) + 1))
    if inner in known:
        return
    close = difflib.get_close_matches(inner, sorted(known), n=1)
    prefix = key.removesuffix(inner)
    hint = f"; did you mean {prefix + close[0]!r}?" if close else ""
    raise ConfigurationError(f"there is no setting {key!r}{hint}")


def look_up(value: Any, key: str) -> Any:
    """Return what a key leads to in a configuration; an error names the nearest."""
    done: list[str] = []
    for part in key.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            known = list(value) if isinstance(value, dict) else []
            close = difflib.get_close_matches(part, known, n=1)
            where = ".".join(done)
            hint = (
                f"did you mean {'.'.join([*done, close[0]])!r}?"
                if close
                else f"{where or 'the configuration'} has "
                f"{', '.join(known) or 'no settings below it'}"
            )
            raise ConfigurationError(f"there is no setting {key!r}; {hint}")
        done.append(part)
    return value


def merge(into: dict[str, Any], data: Mapping[str, Any]) -> None:
    """Set those values of a tree that another one has, and keep the rest."""
    for name, value in data.items():
        former = into.get(name)
        if isinstance(former, dict) and isinstance(value, dict) and value:
            merge(former, value)
        else:
            into[name] = value
