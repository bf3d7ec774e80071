"""Asking a person for the settings that were not given."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from typing import Any

import click
from pydantic import BaseModel
from pydantic_core import PydanticUndefined, to_jsonable_python

from acoupi.system.options import UnreadableValueError, choices_of, value_from_text
from acoupi.system.schemas import Key, SchemaField, dotted, fields_of
from acoupi.system.validation import find_problems

__all__ = ["ask_for_missing"]


def ask_for_missing(
    schema: type[BaseModel],
    given: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
    prefix: Key = (),
) -> dict[str, Any]:
    """Ask for every setting of a schema that is not given; check each answer at once.

    Settings that mean nothing beside the answers so far are not asked for.

    Parameters
    ----------
    schema : type of BaseModel
        What is configured.
    given : mapping
        Values that are not asked for.
    defaults : mapping, optional
        Values to offer instead of the schema's own defaults.
    prefix : tuple
        Keys that lead to this schema, for what is shown.

    Returns
    -------
    dict
        Raw data: what was given and what was answered.

    Raises
    ------
    click.Abort
        When the person gives up, or the input ends.
    """
    answers = dict(given)
    defaults = defaults or {}
    for field in fields_of(schema):
        key = (*prefix, field.key)
        offered = field.key in defaults
        default = defaults[field.key] if offered else field.default()
        present = field.key in given
        group = field.group
        if group is not None and present and isinstance(given[field.key], Mapping):
            answers[field.key] = _ask_group(
                group, field, given[field.key], default, key
            )
        elif present:
            continue
        elif not (_is_prompted(field) and _applies(field, answers)):
            if offered:
                answers[field.key] = default
        elif group is not None:
            wanted = not field.optional or _confirm_group(field, default, key)
            answers[field.key] = (
                _ask_group(group, field, {}, default, key) if wanted else None
            )
        else:
            answer = _ask(schema, field, default, key, answers)
            if answer is not PydanticUndefined:
                answers[field.key] = answer
    return answers


def _is_prompted(field: SchemaField) -> bool:
    from acoupi.programs import NoUserPrompt

    return not any(
        item is NoUserPrompt or isinstance(item, NoUserPrompt)
        for item in field.info.metadata
    )


def _applies(field: SchemaField, answers: Mapping[str, Any]) -> bool:
    """Tell whether a setting means anything beside what was answered before.

    A schema says so with ``json_schema_extra={"applies_when": {key: [values]}}``.
    """
    extra = field.info.json_schema_extra
    conditions = extra.get("applies_when") if isinstance(extra, dict) else None
    if not isinstance(conditions, dict):
        return True
    return all(
        key not in answers or (isinstance(values, list) and answers[key] in values)
        for key, values in conditions.items()
    )


def _confirm_group(field: SchemaField, default: Any, key: Key) -> bool:
    about = f" ({field.info.description})" if field.info.description else ""
    is_on = default is not None and default is not PydanticUndefined
    return click.confirm(f"Set up {dotted(key)}?{about}", default=is_on)


def _ask_group(
    group: type[BaseModel],
    field: SchemaField,
    given: Mapping[str, Any],
    default: Any,
    key: Key,
) -> dict[str, Any]:
    about = f": {field.info.description}" if field.info.description else ""
    click.secho(f"\n{dotted(key)}{about}", bold=True)
    if isinstance(default, BaseModel):
        default = default.model_dump(by_alias=True)
    if not isinstance(default, Mapping):
        default = None
    return ask_for_missing(group, given, default, key)


def _ask(
    schema: type[BaseModel],
    field: SchemaField,
    default: Any,
    key: Key,
    answers: Mapping[str, Any],
) -> Any:
    """Ask for one setting until the answer is valid."""
    has_default = default is not PydanticUndefined
    may_be_left_out = has_default or not field.required

    def read(text: str) -> Any:
        if text == shown and may_be_left_out:
            return default
        try:
            value = value_from_text(field, text)
        except UnreadableValueError as error:
            raise click.UsageError(str(error)) from error
        _check(schema, field, value, answers)
        return value

    if field.annotation is bool and not field.optional:
        return click.confirm(
            _label(field, key), default=bool(default) if has_default else None
        )
    shown = "" if field.secret else _as_typed(default)
    return click.prompt(
        _label(field, key, keep=field.secret and bool(default) and has_default),
        default=shown if may_be_left_out else None,
        show_default=shown != "",
        hide_input=field.secret,
        value_proc=read,
    )


def _check(
    schema: type[BaseModel],
    field: SchemaField,
    value: Any,
    answers: Mapping[str, Any],
) -> None:
    # The whole schema is asked, so that its own validators have their say; what it
    # says of settings still to come is of no interest yet.
    for problem in find_problems(schema, {**answers, field.key: value}):
        if problem.key == field.key or problem.key.startswith(f"{field.key}."):
            raise click.UsageError(problem.message)


def _label(field: SchemaField, key: Key, *, keep: bool = False) -> str:
    parts = [dotted(key)]
    if field.info.description:
        parts.append(f"({field.info.description.rstrip('.')})")
    choices = choices_of(field)
    if choices:
        parts.append(f"[{'|'.join(choices)}]")
    if field.secret:
        parts.append("(hidden; empty keeps the present one)" if keep else "(hidden)")
    return " ".join(parts)


def _as_typed(value: Any) -> str:
    """Write a value as a person would type it."""
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, datetime.timedelta):
        return f"{value.total_seconds():g}"
    plain = to_jsonable_python(value, fallback=str)
    if isinstance(plain, list) and all(not isinstance(x, (list, dict)) for x in plain):
        return ",".join(_as_typed(item) for item in plain)
    if isinstance(plain, (list, dict, bool)):
        return json.dumps(plain, ensure_ascii=False)
    return str(plain)
