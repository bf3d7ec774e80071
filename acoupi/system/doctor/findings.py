"""What an examination finds: one fault each, with the way out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding", "Severity", "error", "warning"]

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    code: str
    """Name of the kind of fault; stays the same between versions."""
    severity: Severity
    """``error``: recordings, detections or messages are or will be lost or late;
    ``warning``: they may be."""
    what: str
    """The fault, in a sentence."""
    evidence: str
    """What was seen, and where."""
    remedy: str
    """What to do about it."""


def error(code: str, what: str, evidence: str, remedy: str) -> Finding:
    """Return the finding of something that does harm."""
    return Finding(code, "error", what, evidence, remedy)


def warning(code: str, what: str, evidence: str, remedy: str) -> Finding:
    """Return the finding of something that may do harm."""
    return Finding(code, "warning", what, evidence, remedy)
