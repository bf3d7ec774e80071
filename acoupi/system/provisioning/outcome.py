"""What came of reading the file: what was applied, what is wrong, what is notable."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Outcome", "Problem"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, for a person with the file open before them."""

    message: str
    """What is wrong and how to mend it."""
    key: str = ""
    """Dotted key, as ``wifi.password``; empty when it is about the whole file."""
    line: int | None = None
    """Line in the file, from 1."""
    value: str | None = None
    """What is written there; None when there is nothing to show, or it is secret."""

    def __str__(self) -> str:
        """Return one sentence: line, key, value, message."""
        where = f"line {self.line}: " if self.line is not None else ""
        given = f" = {self.value}" if self.value is not None else ""
        what = f"{self.key}{given}: " if self.key else ""
        return f"{where}{what}{self.message}"


@dataclass
class Outcome:
    """All that a run of the provisioning has to report."""

    applied: list[str] = field(default_factory=list)
    """What the sensor is now, one sentence each."""
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is worth knowing and no mistake."""

    def as_data(self) -> dict[str, Any]:
        """Return plain data, which `from_data` takes."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Any) -> Outcome:
        """Return the outcome that `as_data` described; an empty one for other data."""
        try:
            return cls(
                applied=[str(text) for text in data["applied"]],
                problems=[Problem(**problem) for problem in data["problems"]],
                notes=[str(text) for text in data["notes"]],
            )
        except (KeyError, TypeError):
            return cls()
