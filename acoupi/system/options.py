"""Settings given as command-line options: ``--microphone.samplerate 384000``."""

from __future__ import annotations

import datetime
import difflib
import enum
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from acoupi.system.schemas import SchemaField, dotted, fields_of, members_of
from acoupi.system.validation import ConfigurationProblem

if TYPE_CHECKING:
    from pydantic import BaseModel

    from acoupi.system.schemas import Key

__all__ = ["UnreadableValueError", "choices_of", "parse_options", "value_from_text"]

_NOTHING = frozenset({"", "null", "none"})
_COLLECTIONS = (list, tuple, set, frozenset, Sequence)


class UnreadableValueError(ValueError):
    """A text cannot stand for a value of the type that is wanted."""


@dataclass(frozen=True)
class _Option:
    key: Key
    field: SchemaField


def parse_options(
    schema: type[BaseModel], args: Sequence[str]
) -> tuple[dict[str, Any], list[ConfigurationProblem]]:
    """Read options into raw data.

    Parameters
    ----------
    schema : type of BaseModel
        What is configured.
    args : sequence of str
        ``--key value`` or ``--key=value``, the key dotted, its underscores or dashes
        alike. ``--key`` alone sets a boolean or switches an optional group on,
        ``--no-key`` the opposite. Lists are repeated options, values with commas
        between or JSON; anything may be given as JSON.

    Returns
    -------
    data, problems
        Nested raw data, and what could not be read.
    """
    options = {_normal(dotted(option.key)): option for option in _options(schema)}
    data: dict[str, Any] = {}
    problems: list[ConfigurationProblem] = []
    seen: set[Key] = set()
    for name, text in _pairs(args, options):
        option, negated = _find(name, options)
        if option is None:
            problems.append(_unknown(name, options))
            continue
        try:
            value = _value(option.field, text, negated=negated)
        except UnreadableValueError as error:
            problems.append(ConfigurationProblem(dotted(option.key), str(error)))
            continue
        repeated = option.key in seen
        seen.add(option.key)
        _store(data, option.key, value, extend=repeated)
    return data, problems


def _options(
    schema: type[BaseModel],
    prefix: Key = (),
    above: tuple[type[BaseModel], ...] = (),
) -> list[_Option]:
    found: list[_Option] = []
    for field in fields_of(schema):
        key = (*prefix, field.key)
        found.append(_Option(key, field))
        group = field.group
        if group is not None and group not in above:
            found += _options(group, key, (*above, schema))
    return found


def _pairs(
    args: Sequence[str], options: Mapping[str, _Option]
) -> list[tuple[str, str | None]]:
    """Split arguments into names and values; a name without ``--`` is a stray value."""
    pairs: list[tuple[str, str | None]] = []
    rest = list(args)
    while rest:
        argument = rest.pop(0)
        name, equals, text = argument.partition("=")
        if equals:
            pairs.append((name, text))
        elif argument.startswith("--") and rest and not rest[0].startswith("--"):
            option, negated = _find(argument, options)
            alone = negated or (
                option is not None
                and _is_switch(option.field)
                and not _reads(option.field, rest[0])
            )
            pairs.append((argument, None if alone else rest.pop(0)))
        else:
            pairs.append((argument, None))
    return pairs


def _find(name: str, options: Mapping[str, _Option]) -> tuple[_Option | None, bool]:
    if not name.startswith("--"):
        return None, False
    wanted = _normal(name.removeprefix("--"))
    if wanted in options:
        return options[wanted], False
    if wanted.startswith("no_") and wanted.removeprefix("no_") in options:
        return options[wanted.removeprefix("no_")], True
    return None, False


def _normal(name: str) -> str:
    return name.replace("-", "_").lower()


def _unknown(name: str, options: Mapping[str, _Option]) -> ConfigurationProblem:
    if not name.startswith("--"):
        return ConfigurationProblem(
            "", f"unexpected argument {name!r}: options are written --key value"
        )
    close = difflib.get_close_matches(_normal(name.removeprefix("--")), options, n=1)
    hint = f"; did you mean --{close[0]}?" if close else ""
    return ConfigurationProblem(name, f"no such option{hint}")


def _is_switch(field: SchemaField) -> bool:
    return field.annotation is bool or field.group is not None


def _reads(field: SchemaField, text: str) -> bool:
    if field.group is not None:
        return text.startswith("{") or (field.optional and text.lower() in _NOTHING)
    words = {"true", "false", "yes", "no", "on", "off", "1", "0", "t", "f", "y", "n"}
    return text.lower() in words or (field.optional and text.lower() in _NOTHING)


def _value(field: SchemaField, text: str | None, *, negated: bool) -> Any:
    if negated:
        if text is not None:
            raise UnreadableValueError("an option that starts with --no- has no value")
        if field.annotation is bool:
            return False
        if field.optional:
            return None
        raise UnreadableValueError("cannot be switched off")
    if text is None:
        if field.annotation is bool:
            return True
        if field.group is not None:
            return {}
        raise UnreadableValueError(f"needs a value: --{field.key} VALUE")
    return value_from_text(field, text)


def _store(data: dict[str, Any], key: Key, value: Any, *, extend: bool) -> None:
    here: dict[str, Any] = data
    for part in key[:-1]:
        below = here.get(str(part))
        if not isinstance(below, dict):
            below = here[str(part)] = {}
        here = below
    last = str(key[-1])
    former = here.get(last)
    if isinstance(former, dict) and isinstance(value, dict):
        former.update(value)
    elif extend and isinstance(former, list) and isinstance(value, list):
        here[last] = former + value
    else:
        here[last] = value


def choices_of(field: SchemaField) -> dict[str, Any]:
    """Return the values that a Literal or an Enum allows, by the text for each."""
    members = list(members_of(field.annotation))
    choices: dict[str, Any] = {}
    for member in members:
        if get_origin(member) is Literal:
            choices.update({str(value): value for value in get_args(member)})
        elif isinstance(member, type) and issubclass(member, enum.Enum):
            choices.update({str(item.value): item for item in member})
        else:
            return {}
    return choices


def value_from_text(field: SchemaField, text: str) -> Any:
    """Return what a text written by a person stands for, still to be validated.

    Parameters
    ----------
    field : SchemaField
        The setting.
    text : str
        As typed. A plain number of seconds is a duration; ``null`` (or nothing) is
        None where that is allowed; lists have commas between their items; groups and
        mappings are JSON.

    Raises
    ------
    UnreadableValueError
        When JSON is needed and the text is not.
    """
    members = list(members_of(field.annotation))
    if field.optional and _is_nothing(text, members):
        return None
    choices = choices_of(field)
    if choices:
        return _choice(text, members, choices)
    origins = [get_origin(member) or member for member in members]
    if {str, bytes}.isdisjoint(origins) and any(map(_is_collection, origins)):
        return _items(members, text)
    if datetime.timedelta in origins:
        return _seconds(text)
    if field.group is not None or any(map(_is_mapping, origins)):
        return _from_json(text)
    # What may be a group or anything at all may be JSON.
    free = any(origin is Any or _is_model(origin) for origin in origins)
    return _from_json_or_text(text) if free else text


def _is_nothing(text: str, members: list[Any]) -> bool:
    return text.lower() in ({"", "null"} if str in members else _NOTHING)


def _choice(text: str, members: list[Any], choices: dict[str, Any]) -> Any:
    if text in choices:
        return choices[text]
    for member in members:
        # The name of a member of an Enum does as well as its value.
        if isinstance(member, type) and text in getattr(member, "__members__", {}):
            return member[text]  # type: ignore[index] # a class of the enum module
    return text


def _items(members: list[Any], text: str) -> Any:
    if text.lstrip().startswith("["):
        return _from_json(text)
    arguments = [a for member in members for a in get_args(member) if a is not ...]
    inner = [m for argument in arguments[:1] for m in members_of(argument)]
    if any(_is_model(member) for member in inner):
        return _from_json(f"[{text}]")
    items = [item.strip() for item in text.split(",")]
    items = [item for item in items if item]
    if datetime.timedelta in inner:
        return [_seconds(item) for item in items]
    choices = {
        str(value): value
        for member in inner
        if get_origin(member) is Literal
        for value in get_args(member)
    }
    choices |= {
        str(item.value): item
        for member in inner
        if isinstance(member, type) and issubclass(member, enum.Enum)
        for item in member
    }
    return [choices.get(item, item) for item in items]


def _seconds(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnreadableValueError(f"must be written as JSON: {error}") from error


def _from_json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_collection(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, _COLLECTIONS)


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_model(member: Any) -> bool:
    return hasattr(member, "model_fields")
