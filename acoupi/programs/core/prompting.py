"""How a configuration schema says which fields a person is not asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["NoUserPrompt", "is_prompted"]


class NoUserPrompt:
    """Marks a configuration field whose default is taken without asking.

    Use it as ``Annotated[int, NoUserPrompt]``, ``Annotated[int, NoUserPrompt()]`` or
    ``NoUserPrompt[int]``. The field can still be set by option or in the file.
    """

    def __class_getitem__(cls, item: Any) -> Any:
        """Return ``item`` annotated with the mark."""
        return Annotated[item, cls]


def is_prompted(field: FieldInfo) -> bool:
    """Tell whether a person is asked for the field.

    Parameters
    ----------
    field : pydantic.fields.FieldInfo
        A field of a configuration schema.
    """
    return not any(
        mark is NoUserPrompt or isinstance(mark, NoUserPrompt)
        for mark in field.metadata
    )
