"""Walking a pydantic schema: its settings, groups, secrets and unknown keys.

A configuration is a tree. A *group* is a field whose value is a model of its own; a
*setting* is any other field. Both are named by the path of keys that leads to them,
as ``("microphone", "samplerate")``, written ``microphone.samplerate``.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    Secret,
    SecretBytes,
    SecretStr,
    ValidationError,
)
from pydantic_core import PydanticUndefined

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = [
    "Key",
    "SchemaField",
    "UnknownKey",
    "dotted",
    "fields_of",
    "leaves_of",
    "members_of",
    "secret_keys",
    "secrets_in",
    "texts_at",
    "unknown_keys",
]

Key = tuple[str | int, ...]
"""Path of keys (and list positions) that leads to a value."""

_SERIES = (list, tuple, set, frozenset)


def dotted(key: Key) -> str:
    """Write a path of keys as people do: ``messaging.mqtt.host``."""
    return ".".join(str(part) for part in key)


@dataclass(frozen=True)
class SchemaField:
    """One field of a schema."""

    name: str
    """Name of the attribute."""
    key: str
    """Key in a configuration file: the alias where there is one."""
    info: FieldInfo
    annotation: Any
    """Type, without ``Annotated`` and ``None``."""
    optional: bool
    """Whether None is allowed."""

    @property
    def group(self) -> type[BaseModel] | None:
        """Model of the group; None when the field is a setting."""
        return _as_model(self.annotation)

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.info.is_required()

    @property
    def secret(self) -> bool:
        """Whether the value must not be shown."""
        return _is_secret(self.annotation)

    def default(self) -> Any:
        """Return the default value.

        Returns
        -------
        Any
            A value, or `pydantic_core.PydanticUndefined` when there is none that
            does not depend on other fields.
        """
        try:
            return self.info.get_default(call_default_factory=True)
        except (TypeError, ValueError, KeyError):
            # A factory may depend on the values of other fields.
            return PydanticUndefined


def fields_of(schema: type[BaseModel]) -> Iterator[SchemaField]:
    """Yield the fields of a schema, in the order of their definition."""
    for name, info in schema.model_fields.items():
        annotation, optional = _unwrap(info.annotation)
        yield SchemaField(name, _aliases(name, info)[0], info, annotation, optional)


def leaves_of(
    schema: type[BaseModel], prefix: Key = (), _above: tuple[type[BaseModel], ...] = ()
) -> Iterator[tuple[Key, SchemaField]]:
    """Yield every setting below a schema, with its path of keys."""
    above = (*_above, schema)
    for field in fields_of(schema):
        key = (*prefix, field.key)
        group = field.group
        if group is not None and group not in above:
            yield from leaves_of(group, key, above)
        else:
            yield key, field


def secret_keys(schema: type[BaseModel]) -> list[str]:
    """Return the dotted keys of the settings that are secret, sorted."""
    return sorted(dotted(key) for key, field in leaves_of(schema) if field.secret)


def secrets_in(schema: type[BaseModel], data: Any) -> dict[str, list[str]]:
    """Return the secrets that raw data holds, as text, by dotted key."""
    found: dict[str, list[str]] = {}
    for key, annotation, value in _values(schema, data, ()):
        if _is_secret(annotation):
            found[dotted(key)] = list(_texts(value))
    return found


def texts_at(data: Any, path: Key) -> list[str]:
    """Return what raw data holds at a path of keys, as text."""
    for part in path:
        data = data[part]
    return list(_texts(data))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, (SecretStr, SecretBytes, Secret)):
        value = value.get_secret_value()
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, _SERIES):
        for item in value:
            yield from _texts(item)
    elif value is not None and not isinstance(value, bool) and str(value):
        yield str(value)


def _values(annotation: Any, value: Any, path: Key) -> Iterator[tuple[Key, Any, Any]]:
    """Yield what is at each key at any depth, with its path and its type."""
    for member in members_of(annotation):
        for key, inner, item in _contents(member, value):
            yield (*path, key), inner, item
            yield from _values(inner, item, (*path, key))


def _contents(member: Any, value: Any) -> Iterator[tuple[str | int, Any, Any]]:
    arguments = get_args(member)
    model = _as_model(member)
    if isinstance(value, Mapping) and model is not None:
        for name, info in model.model_fields.items():
            for key in sorted({name, *_aliases(name, info)} & set(value)):
                yield key, info.annotation, value[key]
    elif isinstance(value, Mapping) and _is_class(get_origin(member), Mapping):
        for key, item in value.items():
            yield key, arguments[-1], item
    elif isinstance(value, (list, tuple)) and _is_class(get_origin(member), _SERIES):
        for position, item in enumerate(value):
            yield position, arguments[0], item


@dataclass(frozen=True)
class UnknownKey:
    """A key that a schema does not have."""

    key: Key
    known: tuple[str, ...]
    """The keys that would be allowed there."""


def unknown_keys(schema: type[BaseModel], data: Any) -> Iterator[UnknownKey]:
    """Yield the keys of raw data that a schema does not have, at any depth.

    pydantic ignores them unless a schema forbids them; here they are always found,
    because a misspelt setting that is silently ignored is found in the field.
    """
    if isinstance(data, Mapping):
        yield from _unknown_in_model(schema, data, ())


def _unknown_in_model(
    schema: type[BaseModel], data: Mapping[Any, Any], path: Key
) -> Iterator[UnknownKey]:
    known: dict[str, Any] = {}
    for name, info in schema.model_fields.items():
        for alias in _aliases(name, info):
            known[alias] = info.annotation
        if schema.model_config.get("populate_by_name") or schema.model_config.get(
            "validate_by_name"
        ):
            known[name] = info.annotation
    lenient = schema.model_config.get("extra") == "allow" or _reshapes_input(schema)
    for key, value in data.items():
        if key in known:
            yield from _unknown_in(known[key], value, (*path, key))
        elif not lenient:
            yield UnknownKey((*path, str(key)), tuple(known))


def _unknown_in(annotation: Any, value: Any, path: Key) -> Iterator[UnknownKey]:
    members = list(members_of(annotation))
    if isinstance(value, Mapping):
        models = [model for member in members if (model := _as_model(member))]
        if models:
            attempts = [
                (list(_unknown_in_model(model, value, path)), model) for model in models
            ]
            # The member that is meant is the one with the fewest things wrong.
            unknown, _ = min(
                attempts, key=lambda one: (len(one[0]), _errors(one[1], value))
            )
            yield from unknown
            return
        for member in members:
            arguments = get_args(member)
            if len(arguments) == 2 and _is_class(get_origin(member), Mapping):
                for key, item in value.items():
                    yield from _unknown_in(arguments[1], item, (*path, key))
                return
    elif isinstance(value, _SERIES):
        for member in members:
            if _is_class(get_origin(member), _SERIES) and get_args(member):
                for position, item in enumerate(value):
                    yield from _unknown_in(get_args(member)[0], item, (*path, position))
                return


def _errors(model: type[BaseModel], value: Any) -> int:
    try:
        model.model_validate(value)
    except ValidationError as error:
        return error.error_count()
    except Exception:  # noqa: BLE001 - validators of others raise anything
        return 1
    return 0


def _reshapes_input(schema: type[BaseModel]) -> bool:
    # A validator that sees the raw data may take other keys, as those of a former
    # version.
    return any(
        validator.info.mode in {"before", "wrap"}
        for validator in schema.__pydantic_decorators__.model_validators.values()
    )


def _aliases(name: str, info: FieldInfo) -> list[str]:
    alias = info.validation_alias if info.validation_alias is not None else info.alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    found: list[str] = []
    for choice in choices:
        if isinstance(choice, AliasPath):
            found.append(str(choice.path[0]))
        elif choice is not None:
            found.append(choice)
    return found or [name]


def _unwrap(annotation: Any) -> tuple[Any, bool]:
    """Strip ``Annotated`` and ``None``; tell whether None was allowed."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in {Union, types.UnionType}:
        members = get_args(annotation)
        rest = tuple(member for member in members if member is not type(None))
        optional = len(rest) < len(members)
        if len(rest) == 1:
            inner, inner_optional = _unwrap(rest[0])
            return inner, optional or inner_optional
        return Union[rest], optional  # noqa: UP007 - built from a tuple at run time
    return annotation, annotation is type(None)


def members_of(annotation: Any) -> Iterator[Any]:
    """Yield the members of a union; a type that is none yields itself."""
    inner, _ = _unwrap(annotation)
    if get_origin(inner) in {Union, types.UnionType}:
        for member in get_args(inner):
            yield from members_of(member)
    else:
        yield inner


def _is_class(value: Any, classes: Any) -> bool:
    return isinstance(value, type) and issubclass(value, classes)


def _as_model(annotation: Any) -> type[BaseModel] | None:
    # `list[int]` passes for a class in some versions of Python, hence the origin.
    if get_origin(annotation) is None and _is_class(annotation, BaseModel):
        return annotation  # type: ignore[no-any-return] # checked just above
    return None


def _is_secret(annotation: Any) -> bool:
    for member in members_of(annotation):
        origin = get_origin(member) or member
        if _is_class(origin, (SecretStr, SecretBytes, Secret)):
            return True
        if any(_is_secret(argument) for argument in get_args(member)):
            return True
    return False
