"""What happens at each boot: the file is read, the sensor follows, the report says so.

The order is safe against power cuts: each step leaves files that are whole, may be
repeated, and begins from what the one before it made durable.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acoupi.errors import AcoupiError
from acoupi.system.ownership import as_owner_of
from acoupi.system.provisioning import connections, sensor
from acoupi.system.provisioning.document import looks_secret, read_document
from acoupi.system.provisioning.machine import observe
from acoupi.system.provisioning.memory import Memory
from acoupi.system.provisioning.outcome import Outcome, Problem
from acoupi.system.provisioning.partition import CONFIGURATION, REPORT, Partition
from acoupi.system.provisioning.positions import find_line, key_lines
from acoupi.system.provisioning.report import write_words
from acoupi.system.provisioning.system import write_system_files
from acoupi.system.provisioning.vault import (
    Vault,
    find_secrets,
    put_marker,
    resolve_markers,
)
from acoupi.system.provisioning.wishes import Wishes, in_plain_words, read_wishes
from acoupi.system.schemas import Key, dotted

if TYPE_CHECKING:
    from acoupi.system.provisioning.sensor import Wanted
    from acoupi.system.settings import Settings

__all__ = ["provision", "write_report"]

logger = logging.getLogger(__name__)

_HOTSPOT_LABEL = "the sensor's own network"


def provision(
    partition: Path,
    settings: Settings,
    *,
    state: Path | None = None,
    base: Mapping[str, Any] | None = None,
    also: Path | None = None,
) -> Outcome:
    """Read the file on a partition, and make the sensor follow what is right in it.

    Whatever is in the file, the sensor has a valid configuration afterwards: that which
    is asked for, else the former one, else that of the default program.

    Parameters
    ----------
    partition : Path
        Where the partition is mounted; the report is written there, and secrets in the
        file are replaced by a marker.
    settings : Settings
        The home; made when absent.
    state : Path, optional
        Directory of what is known of former boots and of the files that the system
        takes. Default: ``provision`` in the home.
    base : mapping, optional
        What holds where the file says nothing: ``settings`` of the program, ``celery``.
    also : Path, optional
        Text file, where there is one, of what else is wrong, for the report.

    Returns
    -------
    Outcome
        What was applied and what is wrong.

    Raises
    ------
    AcoupiError
        When the state directory cannot be written.
    """
    directory = state or settings.home / "provision"
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AcoupiError(f"{directory} cannot be made: {error.strerror}") from error
    run = _Run(Partition(partition), settings, directory, base or {})
    with run.guarded("reading the file"):
        run.read()
    with run.guarded("preparing the network and the device"):
        run.prepare_system()
    with run.guarded("setting the program up"):
        run.set_up()
    with run.guarded("starting the deployment"):
        run.deploy()
    with run.guarded("keeping what is known"):
        run.remember()
    write_report(partition, settings, state=state, outcome=run.outcome, also=also)
    return run.outcome


def write_report(
    partition: Path,
    settings: Settings,
    *,
    state: Path | None = None,
    outcome: Outcome | None = None,
    also: Path | None = None,
) -> str:
    """Write ``acoupi-report.txt``, and return what it says.

    Parameters
    ----------
    partition, settings, state, also
        As those of `provision`.
    outcome : Outcome, optional
        What is to be reported. Default: that of the last `provision`.
    """
    directory = state or settings.home / "provision"
    memory = Memory.read(directory / "state.json")
    hotspot = memory.wishes.hotspot
    own = None
    if hotspot.enabled and hotspot.password is None:
        own = Vault(directory / "secrets.json").get(_HOTSPOT_LABEL)
    told = outcome or memory.outcome
    told = replace(told, problems=_read_problems(also) + told.problems)
    text = write_words(told, observe(settings), own)
    where = Partition(partition)
    try:
        where.replace(where.path / REPORT, text.encode())
    except OSError as error:
        logger.warning("the report cannot be written: %s", error)
    return text


class _Run:
    """One reading of the file."""

    def __init__(
        self,
        partition: Partition,
        settings: Settings,
        directory: Path,
        base: Mapping[str, Any],
    ) -> None:
        self.partition = partition
        self.settings = settings
        self.directory = directory
        self.base = base
        self.vault = Vault(directory / "secrets.json")
        self.memory = Memory.read(directory / "state.json")
        self.outcome = Outcome()
        self.lines: dict[Key, int] = {}
        self.wishes = Wishes(
            self.memory.wishes.device,
            self.memory.wishes.networks,
            self.memory.wishes.hotspot,
        )

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """Go on after anything that goes wrong: the sensor is to record."""
        try:
            yield
        except Exception as error:
            logger.exception("%s failed", what)
            # The message of an error of any kind may hold what is secret.
            kind = error.strerror if isinstance(error, OSError) else None
            reason = kind or type(error).__name__
            self.outcome.problems.append(
                Problem(f"{what} failed ({reason}); all else was done")
            )

    def note(self, problem: Problem) -> None:
        """Add a problem, with its line."""
        path: Key = tuple(
            int(part) if part.isdigit() else part for part in problem.key.split(".")
        )
        line = problem.line or find_line(self.lines, path)
        # What a program shows as a setting may be a password all the same.
        shown = problem.value or ""
        hidden = looks_secret(str(path[-1])) or "PRIVATE KEY" in shown
        value = None if hidden else problem.value
        self.outcome.problems.append(replace(problem, line=line, value=value))

    def read(self) -> None:
        """Read the file, take the secrets off it, and find what it wants."""
        content = self.partition.read()
        self.outcome.notes += self.partition.notes
        if content is None:
            self.note(
                Problem(
                    f"there is no {CONFIGURATION} on the card: everything stays as it "
                    "was; acoupi-template.toml is there to begin with"
                )
            )
            return
        document = read_document(content)
        self.outcome.notes += document.notes
        self.lines = key_lines(document.text)
        for problem in document.problems:
            self.note(problem)
        if document.data is None:
            return
        wanted = read_wishes(document.data, Wishes(), lambda _: None).wanted
        secrets: list[str] = self._in_home(
            lambda: sensor.secret_settings(self.settings, wanted)
        )
        resolved, labels, missing = resolve_markers(document.data, self.vault)
        with self.guarded("taking passwords off the card"):
            labels |= self._take_secrets(document.text, document.data, secrets)
        for path in missing:
            if path[0] not in {"settings", "mqtt", "http"}:
                continue  # those of networks are refused: without, they would be open
            self.note(
                Problem(
                    "this is not kept on the sensor: write it in the file again",
                    dotted(path),
                )
            )
            _remove(resolved, path)
        self.wishes = read_wishes(resolved, self.memory.wishes, self.note)
        if any(path[0] in {"settings", "mqtt", "http"} for path in missing):
            self.wishes.program_is_broken = True
        if not self.outcome.problems:
            # What is misspelt now refers to its secret when it is corrected.
            self.vault.keep_only({*labels, _HOTSPOT_LABEL})

    def _in_home(self, action: Any) -> Any:
        return as_owner_of(self.settings.home, action)

    def _take_secrets(
        self, text: str, data: Mapping[str, Any], keys: list[str]
    ) -> set[str]:
        found = find_secrets(data, keys)
        if not found:
            return set()
        self.vault.store(dict(found.values()))
        changed = text
        for path, (_, secret) in found.items():
            replaced = put_marker(changed, path, secret)
            if replaced is None:
                self.note(
                    Problem(
                        "this could not be taken off the card; the sensor has it: "
                        "remove it from the file by hand",
                        dotted(path),
                    )
                )
            else:
                changed = replaced
        if changed != text:
            self.partition.replace(self.partition.configuration, changed.encode())
        return {label for label, _ in found.values()}

    def prepare_system(self) -> None:
        """Write what the system takes: name, networks, keys."""
        password = self.wishes.hotspot.password
        own = password.get_secret_value() if password else self._own_password()
        name = self.wishes.device.name or platform.node() or "acoupi"
        write_system_files(self.directory / "system", self.wishes, name, own)
        device = self.wishes.device
        say = self.outcome.applied.append
        if device.name:
            say(f"The device is called {device.name}.")
        if device.timezone:
            say(f"Its time zone is {device.timezone}.")
        count = len(device.ssh_key)
        say(f"{count or 'No'} SSH key{'' if count == 1 else 's'} may log in.")
        if not count:
            self.outcome.notes.append(
                "nobody can log in: that takes an ssh_key in the section [device]"
            )
        known = ", ".join(network.name for network in self.wishes.networks)
        say(f"Known Wi-Fi: {known or 'none'}.")
        if self.wishes.hotspot.enabled:
            # Its own one is told by the report alone: this is also logged.
            shown = "is that of the file" if password else f"is in {REPORT}"
            say(
                f"Without any network the sensor opens its own Wi-Fi {name!r}, whose "
                f"password {shown}; its address there is {connections.HOTSPOT_ADDRESS}."
            )

    def _own_password(self) -> str:
        found = self.vault.get(_HOTSPOT_LABEL)
        if found is None:
            found = connections.new_password()
            self.vault.store({_HOTSPOT_LABEL: found})
        return found

    def set_up(self) -> None:
        """Set the program up when the file wants another than before."""
        wanted = self.wishes.wanted
        if wanted and not self.wishes.program_is_broken:
            digest = _digest(wanted.as_data())
            if digest != self.memory.program or not self.settings.is_set_up:
                if self._try(wanted):
                    self.memory.program = digest
                    self.memory.home = self._digest_of_home()
                    self.outcome.applied.append("The program was set up from the file.")
            elif self.memory.home != self._digest_of_home():
                self.outcome.notes.append(
                    "the program was set up on the sensor since: that holds until its "
                    "part of the file changes"
                )
        fallback = sensor.Wanted(timezone=self.wishes.device.timezone)
        if not self.settings.is_set_up and self._try(fallback):
            self.outcome.notes.append("the default program was set up")
        if self.settings.is_set_up:
            name = self.settings.name_file.read_text(encoding="utf-8").strip()
            self.outcome.applied.append(f"The program is {name}.")

    def _try(self, wanted: Wanted) -> bool:
        came = self._in_home(lambda: sensor.set_up(self.settings, wanted, self.base))
        for key, value, message in came["problems"]:
            self.note(Problem(in_plain_words(message), key, value=value))
        return not came["problems"]

    def _digest_of_home(self) -> str | None:
        try:
            return _digest(
                [
                    self.settings.name_file.read_text(encoding="utf-8"),
                    self.settings.program_file.read_text(encoding="utf-8"),
                ]
            )
        except (OSError, UnicodeDecodeError):
            return None

    def deploy(self) -> None:
        """Start the deployment when the file wants another than before."""
        wanted = self.wishes.deployment
        if wanted is None:
            return
        digest = _digest(wanted.model_dump())
        if digest != self.memory.deployment:
            problem = self._in_home(
                lambda: sensor.deploy(
                    self.settings, wanted.name, wanted.latitude, wanted.longitude
                )
            )
            if problem is not None:
                self.note(Problem(problem, "deployment"))
                return
            self.memory.deployment = digest
        place = (
            f" at {wanted.latitude}, {wanted.longitude}"
            if wanted.latitude is not None
            else ""
        )
        self.outcome.applied.append(f"The deployment is {wanted.name}{place}.")

    def remember(self) -> None:
        """Keep the last good wishes and the outcome for the next boot."""
        self.memory.wishes = self.wishes
        self.memory.outcome = self.outcome
        self.memory.write(self.directory / "state.json")


def _read_problems(file: Path | None) -> list[Problem]:
    """Return what another program says is wrong, which may be nothing."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace") if file else ""
    except OSError:
        return []
    return [Problem(line) for line in text[:2000].splitlines() if line.strip()]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _remove(data: Any, path: Key) -> None:
    for part in path[:-1]:
        data = data[part]
    if isinstance(data, dict):
        data.pop(path[-1], None)
