"""From a configuration schema to a configuration: options first, then questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from acoupi.system.options import parse_options
from acoupi.system.schemas import fields_of
from acoupi.system.validation import (
    ConfigurationProblem,
    InvalidConfigurationError,
    find_problems,
    validate_config,
)

if TYPE_CHECKING:
    from acoupi.system.schemas import Key

__all__ = ["parse_config_from_args"]

M = TypeVar("M", bound=BaseModel)


def parse_config_from_args(
    schema: type[M],
    args: Sequence[str] = (),
    prompt: bool = True,
    *,
    defaults: Mapping[str, Any] | None = None,
) -> M:
    """Build a configuration from command-line options and, for the rest, questions.

    Parameters
    ----------
    schema : type of BaseModel
        The program's configuration schema.
    args : sequence of str
        Options, as ``["--recording.duration", "5", "--messaging.mqtt.host=broker"]``;
        see `acoupi.system.options.parse_options`.
    prompt : bool
        Ask for what the options leave open (except for fields marked
        ``NoUserPrompt``); otherwise the defaults hold and a missing value is an
        error.
    defaults : mapping, optional
        Raw data of a present configuration, which the options change.

    Raises
    ------
    InvalidConfigurationError
        With everything that is wrong, at once.
    click.Abort
        When the person asked gives up.
    """
    given, problems = parse_options(schema, args)
    base = dict(defaults or {})
    if prompt:
        # Nobody is asked twenty questions to be told then that an option was wrong.
        problems += [
            problem
            for problem in find_problems(schema, _with_group_defaults(schema, given))
            if _is_given(given, problem.key)
        ]
        if problems:
            raise InvalidConfigurationError(problems)
        return _ask(schema, given, base)
    data = _with_required_groups(
        schema, _with_group_defaults(schema, _merged(base, given))
    )
    unread = {problem.key for problem in problems}
    problems += [
        _with_option(problem)
        for problem in find_problems(schema, data)
        if problem.key not in unread
    ]
    if problems:
        raise InvalidConfigurationError(problems)
    return validate_config(schema, data)


def _ask(schema: type[M], given: dict[str, Any], base: dict[str, Any]) -> M:
    import click

    from acoupi.system.prompting import ask_for_missing

    known, offered = given, base
    while True:
        answers = ask_for_missing(schema, known, offered)
        data = _with_group_defaults(schema, answers)
        problems = find_problems(schema, data)
        if not problems:
            return validate_config(schema, data)
        # Settings that are right alone may be wrong together: ask for those again.
        known = answers
        for problem in problems:
            known = _without(known, tuple(problem.key.split(".")), given)
        if known == answers:
            raise InvalidConfigurationError(problems)
        for problem in problems:
            click.echo(f"Error: {problem}", err=True)
        offered = _merged(base, answers)


def _with_option(problem: ConfigurationProblem) -> ConfigurationProblem:
    if "is required" not in problem.message:
        return problem
    return replace(problem, message=f"{problem.message}; give --{problem.key} VALUE")


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        former = result.get(key)
        if isinstance(former, Mapping) and isinstance(value, Mapping):
            result[key] = _merged(former, value)
        else:
            result[key] = value
    return result


def _with_group_defaults(
    schema: type[BaseModel], data: Mapping[str, Any]
) -> dict[str, Any]:
    """Fill a group that is given in part from the default of its field."""
    result = dict(data)
    for field in fields_of(schema):
        value, group = result.get(field.key), field.group
        if group is None or not isinstance(value, Mapping):
            continue
        default = field.default()
        if isinstance(default, group):
            value = _merged(default.model_dump(by_alias=True), value)
        result[field.key] = _with_group_defaults(group, value)
    return result


def _with_required_groups(
    schema: type[BaseModel], data: Mapping[str, Any]
) -> dict[str, Any]:
    """Begin each group that is missing, so that what is missing in it is named."""
    result = dict(data)
    for field in fields_of(schema):
        group = field.group
        if group is None or (field.key not in result and not field.required):
            continue
        value = result.setdefault(field.key, {})
        if isinstance(value, Mapping) and group is not schema:
            result[field.key] = _with_required_groups(group, value)
    return result


def _is_given(given: Mapping[str, Any], key: str) -> bool:
    here: Any = given
    for part in key.split("."):
        if not isinstance(here, Mapping):
            return True
        if part not in here:
            return False
        here = here[part]
    return not isinstance(here, Mapping)


def _without(
    data: Mapping[str, Any], key: Key, given: Mapping[str, Any] | Any
) -> dict[str, Any]:
    """Drop what a key leads to, and all below it, except for what was given."""
    whole = key in {(), ("",)}
    kept: dict[str, Any] = {}
    for name, value in data.items():
        was_given = isinstance(given, Mapping) and name in given
        given_below = given[name] if was_given else {}
        if not whole and name != key[0]:
            kept[name] = value
        elif isinstance(value, Mapping) and (not was_given or given_below != value):
            kept[name] = _without(value, () if whole else key[1:], given_below)
        elif was_given:
            kept[name] = value
    return kept
