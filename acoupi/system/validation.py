"""Validating a configuration: everything that is wrong with it, at once.

Each problem has its dotted key, the value, what is allowed and, for a misspelt key,
the nearest one there is. Secrets never appear in a message.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from acoupi.errors import ConfigurationError
from acoupi.system.credentials import MASK, mask_url_passwords
from acoupi.system.schemas import (
    Key,
    dotted,
    secrets_in,
    texts_at,
    unknown_keys,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = [
    "ConfigurationProblem",
    "InvalidConfigurationError",
    "find_problems",
    "validate_config",
    "without_texts",
]

M = TypeVar("M", bound=BaseModel)

_LONGEST_VALUE_SHOWN = 80


@dataclass(frozen=True)
class ConfigurationProblem:
    """One thing that is wrong with a configuration."""

    key: str
    """Dotted key; empty when it is about the whole."""
    message: str
    value: str | None = None
    """The value given, as JSON; None when there is none to show."""

    def __str__(self) -> str:
        """Return one line: key, value, message."""
        given = f" = {self.value}" if self.value is not None else ""
        return f"{self.key}{given}: {self.message}" if self.key else self.message


class InvalidConfigurationError(ConfigurationError):
    """A configuration is not valid; all that is wrong with it at once.

    Parameters
    ----------
    problems : sequence of ConfigurationProblem
        What is wrong.
    source : str, optional
        The file or the thing that is configured, for the message.
    """

    def __init__(
        self, problems: Sequence[ConfigurationProblem], source: str | None = None
    ) -> None:
        self.problems = tuple(problems)
        self.source = source
        what = f"the configuration in {source}" if source else "the configuration"
        lines = [f"{what} is not valid:", *(f"  {problem}" for problem in problems)]
        super().__init__("\n".join(lines))

    def below(self, prefix: str) -> InvalidConfigurationError:
        """Return the same with every key put below another, as an option's name."""
        problems = [
            replace(problem, key=f"{prefix}.{problem.key}" if problem.key else prefix)
            for problem in self.problems
        ]
        return InvalidConfigurationError(problems, self.source)


def validate_config(
    schema: type[M],
    data: Any,
    *,
    source: str | None = None,
    secret_keys: Iterable[Key] = (),
) -> M:
    """Validate raw data against a schema.

    Parameters
    ----------
    schema : type of BaseModel
        The schema; keys that it does not have are errors whatever it says itself.
    data : Any
        What was read; normally a dictionary.
    source : str, optional
        Where the data came from, for the message.
    secret_keys : iterable of tuple
        Paths of keys whose values are secrets whatever the schema says, as those that
        came from credentials.

    Raises
    ------
    InvalidConfigurationError
        With everything that is wrong.
    """
    problems, config = _validate(schema, data, secret_keys)
    if config is None or problems:
        raise InvalidConfigurationError(problems, source)
    return config


def find_problems(schema: type[BaseModel], data: Any) -> list[ConfigurationProblem]:
    """Return everything that is wrong with raw data; nothing when it is valid."""
    return _validate(schema, data)[0]


def _validate(
    schema: type[M], data: Any, secret_keys: Iterable[Key] = ()
) -> tuple[list[ConfigurationProblem], M | None]:
    problems: list[ConfigurationProblem] = []
    misspelt: set[str] = set()
    reported: set[str] = set()
    for unknown in unknown_keys(schema, data):
        close = difflib.get_close_matches(str(unknown.key[-1]), unknown.known, n=1)
        if close:
            misspelt.add(dotted((*unknown.key[:-1], close[0])))
            hint = f"did you mean {close[0]!r}?"
        else:
            hint = f"allowed are {', '.join(unknown.known)}"
        reported.add(dotted(unknown.key))
        problems.append(
            ConfigurationProblem(dotted(unknown.key), f"no such setting; {hint}")
        )
    config = None
    hidden = secrets_in(schema, data)
    for path in secret_keys:
        hidden[dotted(path)] = texts_at(data, path)
    secrets = sorted({text for texts in hidden.values() for text in texts}, key=len)
    secrets.reverse()
    try:
        config = schema.model_validate(data)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            problem = _problem(details, data, hidden, secrets)
            # A misspelt key explains the missing one.
            explained = details["type"] == "missing" and problem.key in misspelt
            if problem.key in reported and details["type"] == "extra_forbidden":
                continue
            if not explained and problem not in problems:
                problems.append(problem)
    except Exception as error:  # noqa: BLE001 - validators of others raise anything
        problems.append(
            ConfigurationProblem(
                "", without_texts(f"{type(error).__name__}: {error}", secrets)
            )
        )
    return problems, config


def _problem(
    details: ErrorDetails, data: Any, hidden: Collection[str], secrets: Sequence[str]
) -> ConfigurationProblem:
    path = _key_of(details["loc"], data, missing=details["type"] == "missing")
    name = dotted(path)
    if details["type"] == "missing":
        return ConfigurationProblem(name, "is required and has no value")
    value = details["input"]
    shown: str | None = None
    if any(name == key or name.startswith(f"{key}.") for key in hidden):
        shown = MASK
    elif path and (value is None or isinstance(value, (str, int, float, bool))):
        text = json.dumps(value, ensure_ascii=False, default=str)
        if len(text) > _LONGEST_VALUE_SHOWN:
            text = f"{text[:_LONGEST_VALUE_SHOWN]}…"
        shown = without_texts(mask_url_passwords(text), secrets)
    return ConfigurationProblem(
        name, without_texts(_in_plain_words(details), secrets), shown
    )


def _key_of(location: Sequence[str | int], data: Any, *, missing: bool) -> Key:
    """Drop the parts of a location that name no key: pydantic's names of types."""
    key: list[str | int] = []
    part: Any
    for position, part in enumerate(location):
        if (isinstance(data, Mapping) and part in data) or (
            isinstance(part, int)
            and isinstance(data, Sequence)
            and not isinstance(data, str)
            and part < len(data)
        ):
            key.append(part)
            data = data[part]
        elif missing and position == len(location) - 1:
            key.append(part)
    return tuple(key)


def _in_plain_words(details: ErrorDetails) -> str:
    message = details["msg"]
    for prefix in ("Value error, ", "Assertion failed, "):
        message = message.removeprefix(prefix)
    message = message.replace("Input should be", "must be")
    return message.replace("Input should", "should")


def without_texts(text: str, secrets: Sequence[str]) -> str:
    """Return a text in which each of the secrets is masked."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text
