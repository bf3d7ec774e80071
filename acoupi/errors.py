"""Errors that are shown to people: each says what is wrong and how to mend it."""

from __future__ import annotations

from typing import ClassVar

__all__ = ["AcoupiError", "ConfigurationError"]


class AcoupiError(Exception):
    """Something failed; the message names the key or file and the way out.

    The command line shows the message without a traceback and exits with
    ``exit_code``.
    """

    exit_code: ClassVar[int] = 1


class ConfigurationError(AcoupiError):
    """What was asked for or configured is not valid."""

    exit_code: ClassVar[int] = 2
