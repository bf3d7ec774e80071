"""Why a database cannot be used."""

from __future__ import annotations

from acoupi.errors import AcoupiError

__all__ = [
    "CorruptDatabase",
    "DatabaseError",
    "DatabaseUnavailable",
    "ForeignDatabase",
    "NewerSchema",
]


class DatabaseError(AcoupiError):
    """The database cannot be used; the message says why."""


class DatabaseUnavailable(DatabaseError):  # noqa: N818  names the state found
    """The database cannot be used now (disk full, read-only, busy); nothing changed."""


class CorruptDatabase(DatabaseError):  # noqa: N818  names the state found
    """The database was damaged; it has been set aside and a new one will be used."""


class NewerSchema(DatabaseError):  # noqa: N818  names the state found
    """The database was written by a newer version."""


class ForeignDatabase(DatabaseError):  # noqa: N818  names the state found
    """The file is a database of another program."""
