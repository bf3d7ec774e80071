"""What the file wants, part by part; where it is wrong, what was before."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from acoupi.system.provisioning.outcome import Problem
from acoupi.system.provisioning.sections import (
    SECTIONS,
    DeploymentSection,
    DeviceSection,
    HotspotSection,
    ProgramSection,
    WifiNetwork,
)
from acoupi.system.provisioning.sensor import Wanted
from acoupi.system.validation import ConfigurationProblem, find_problems

__all__ = ["Wishes", "in_plain_words", "read_wishes"]

M = TypeVar("M", bound=BaseModel)
Note = Callable[[Problem], None]

_NO_SECTION = "must be a section: its name in brackets on a line, then its settings"

_PLAINER = (
    (r"must be a valid string.*", "must be text, in quotes"),
    (r"must be a valid boolean.*", "must be true or false, without quotes"),
    (r"must be a valid dictionary.*|must be an object", _NO_SECTION),
    (r"must be a valid list.*", 'must be a list: ["first", "second"]'),
    (r"must be a valid number.*", "must be a number with a point, as 51.5"),
    (r"must be a valid integer.*", "must be a whole number, without quotes"),
    (r"is required and has no value", "is missing"),
)


@dataclass
class Wishes:
    """The file's content, valid part by part."""

    device: DeviceSection = field(default_factory=DeviceSection)
    networks: list[WifiNetwork] = field(default_factory=list)
    hotspot: HotspotSection = field(default_factory=HotspotSection)
    wanted: Wanted = field(default_factory=Wanted)
    program_is_broken: bool = False
    """Whether the sections of the program cannot be used at all."""
    deployment: DeploymentSection | None = None


def in_plain_words(message: str) -> str:
    """Say what pydantic says in words for people who do not program."""
    for pattern, words in _PLAINER:
        message = re.sub(pattern, words, message)
    return message


def read_wishes(data: Mapping[str, Any], former: Wishes, note: Note) -> Wishes:
    """Check what a file says.

    Parameters
    ----------
    data : mapping
        What the file says, secrets in the place of their markers.
    former : Wishes
        What held before: it stays where the file is wrong.
    note : callable
        Takes each problem; their keys are those of the file.
    """
    broken = _unknown_sections(data, note)
    reader = _Reader(data, broken, note)
    wishes = Wishes(
        device=reader.device(former.device),
        networks=reader.networks(former.networks),
        hotspot=reader.section("hotspot", HotspotSection) or former.hotspot,
        deployment=reader.deployment(),
    )
    wishes.wanted, wishes.program_is_broken = reader.program(wishes.device)
    return wishes


def _unknown_sections(data: Mapping[str, Any], note: Note) -> set[str]:
    """Report sections that there are not; return those that are probably meant."""
    meant: set[str] = set()
    for key in data:
        if key in SECTIONS:
            continue
        close = difflib.get_close_matches(key.lower(), SECTIONS, n=1)
        meant.update(close)
        hint = (
            f"did you mean {close[0]!r}?"
            if close
            else f"allowed are {', '.join(SECTIONS)}"
        )
        what = "section" if isinstance(data[key], (dict, list)) else "section above it"
        note(Problem(f"there is no such {what}; {hint}", key))
    return meant


class _Reader:
    def __init__(self, data: Mapping[str, Any], broken: set[str], note: Note) -> None:
        self.data = data
        self.broken = broken
        self.note = note

    def section(self, name: str, schema: type[M]) -> M | None:
        """Return a section, None when it is wrong."""
        if name in self.broken:
            return None
        given = self.data.get(name, {})
        problems = find_problems(schema, given)
        self._report(problems, name)
        return None if problems else schema.model_validate(given)

    def device(self, former: DeviceSection) -> DeviceSection:
        given = self.data.get("device", {})
        if "device" in self.broken or not isinstance(given, dict):
            self.section("device", DeviceSection)
            return former
        problems = find_problems(DeviceSection, given)
        self._report(problems, "device")
        wrong = {problem.key.partition(".")[0] for problem in problems}
        before = former.model_dump()
        kept: dict[str, Any] = {}
        for key in DeviceSection.model_fields:
            # A misspelt name may be that of any setting that is not there.
            misspelt = key not in given and bool(wrong - set(before))
            kept[key] = (
                before[key]
                if key in wrong or misspelt
                else given.get(key, DeviceSection.model_fields[key].default)
            )
        return DeviceSection.model_validate(kept)

    def networks(self, former: list[WifiNetwork]) -> list[WifiNetwork]:
        if "wifi" in self.broken:
            return former
        given = self.data.get("wifi", [])
        if isinstance(given, dict):
            given = [given] if given else []
        if not isinstance(given, list):
            self._report([ConfigurationProblem("", _NO_SECTION)], "wifi")
            return former
        found: list[WifiNetwork] = []
        right = True
        for position, network in enumerate(given):
            problems = find_problems(WifiNetwork, network)
            place = f"wifi.{position}" if len(given) > 1 else "wifi"
            self._report(problems, place)
            if problems:
                right = False
            else:
                found.append(WifiNetwork.model_validate(network))
        if right:
            return found
        names = {network.name for network in found}
        return found + [network for network in former if network.name not in names]

    def deployment(self) -> DeploymentSection | None:
        if not self.data.get("deployment"):
            return None
        return self.section("deployment", DeploymentSection)

    def program(self, device: DeviceSection) -> tuple[Wanted, bool]:
        broken = bool(self.broken & {"program", "settings", "mqtt", "http"})
        given = self.data.get("program", {})
        if isinstance(given, str):
            given = {"name": given}
        problems = find_problems(ProgramSection, given)
        self._report(problems, "program")
        tables: dict[str, dict[str, Any]] = {}
        for name in ("settings", "mqtt", "http"):
            table = self.data.get(name, {})
            if isinstance(table, dict):
                tables[name] = table
            else:
                self._report([ConfigurationProblem("", _NO_SECTION)], name)
                broken = True
        if problems or broken:
            return Wanted(), True
        chosen = ProgramSection.model_validate(given).name
        return Wanted(chosen or None, **tables, timezone=device.timezone), False

    def _report(self, problems: list[ConfigurationProblem], prefix: str) -> None:
        for problem in problems:
            key: str = ".".join(part for part in (prefix, problem.key) if part)
            self.note(
                Problem(in_plain_words(problem.message), key, value=problem.value)
            )
