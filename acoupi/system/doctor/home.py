"""The files of the home: there, whole, private, and the owner's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from acoupi.system.doctor.findings import Finding, error, warning
from acoupi.system.doctor.sensor import Sensor, read_json

if TYPE_CHECKING:
    from acoupi.system.settings import Settings

__all__ = ["probe"]

_AGAIN = "run `acoupi setup` again"


def probe(sensor: Sensor) -> Iterator[Finding]:
    """Look at the home of the sensor."""
    settings = sensor.settings
    refused = _refused(settings)
    if refused is not None:
        yield error(
            "home-unreadable",
            "The sensor's home cannot be read by who asks.",
            f"{refused}: permission denied",
            f"ask as its owner: `sudo ACOUPI_HOME={settings.home} acoupi doctor`",
        )
        return
    if os.path.lexists(settings.home / ".setup"):
        yield error(
            "setup-interrupted",
            "A setup was cut short.",
            f"{settings.home / '.setup'} is there",
            "run `acoupi setup` (or any other command) as the owner of the home: it "
            "brings the former state back",
        )
    if sensor.program is None:
        yield error(
            "not-set-up",
            "No program is set up.",
            f"{settings.name_file} is missing or empty",
            "run `acoupi setup`, or point ACOUPI_HOME to the home of a sensor",
        )
        return
    yield from _probe_files(settings)
    yield from _probe_owners(settings)


def _refused(settings: Settings) -> Path | None:
    """Return the first thing on the way to the configuration that is closed."""
    directory = settings.config_dir
    for part in [*reversed(directory.parents), directory]:
        if not part.is_dir():
            return None
        # Of what is below one that is closed, nothing can be told.
        if not os.access(part, os.X_OK):
            return part
    file = settings.program_file
    return file if file.exists() and not os.access(file, os.R_OK) else None


def _probe_files(settings: Settings) -> Iterator[Finding]:
    for file in (settings.program_file, settings.celery_file):
        if not file.is_file():
            dangling = file.is_symlink()
            yield error(
                "file-missing",
                "A file of the configuration is missing.",
                f"{file} is {'a link to nowhere' if dangling else 'not there'}",
                _AGAIN
                if settings.managed_by is None
                else f"the home is managed by {settings.managed_by}: deploy it again",
            )
        # A file managed elsewhere is a link to one that holds no secret.
        elif not file.is_symlink() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            yield error(
                "secrets-exposed",
                "Others can read a file that may hold secrets.",
                f"{file} has mode {stat.S_IMODE(file.stat().st_mode):o}",
                f"chmod 600 {file}",
            )
        elif not isinstance(read_json(file), dict) and os.access(file, os.R_OK):
            yield error(
                "file-damaged",
                "A file of the configuration is damaged.",
                f"{file} is not a JSON object",
                f"{_AGAIN}, or mend it with an editor",
            )
    for script in settings.scripts:
        if not os.access(script, os.X_OK):
            yield error(
                "script-broken",
                "A script that starts or stops the processes cannot be run.",
                f"{script} is "
                + ("not executable" if script.is_file() else "not there"),
                _AGAIN,
            )


def _probe_owners(settings: Settings) -> Iterator[Finding]:
    """Look for what a command of another user, mostly root, left in the home."""
    owner = settings.home.stat().st_uid
    foreign = [
        entry.path
        for directory in (settings.home, settings.config_dir, settings.log_dir)
        for entry in _entries(directory)
        if _is_foreign(entry, owner)
    ]
    for directory in (settings.log_dir, settings.run_dir):
        if not directory.is_dir():
            yield error(
                "directory-missing",
                "A directory that the processes write to is missing.",
                f"{directory} is not there",
                f"mkdir {directory}, as the owner of the home; or {_AGAIN}",
            )
        elif not _writable_by(directory, owner):
            yield error(
                "directory-read-only",
                "A directory that the processes write to is not writable.",
                f"{directory} has mode "
                f"{stat.S_IMODE(directory.stat().st_mode):o} and belongs to user "
                f"{directory.stat().st_uid}",
                f"chown {owner} {directory} && chmod u+rwx {directory}",
            )
    if foreign:
        shown = ", ".join(foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        yield error(
            "files-of-another-user",
            "Files of the home belong to another user than the home.",
            f"{len(foreign)} of them: {shown}",
            f"sudo chown -R --reference={settings.home} {settings.home}",
        )
    for marker in (settings.home, settings.config_dir):
        if marker.stat().st_mode & stat.S_IWOTH:
            yield warning(
                "home-open",
                "Everybody can change the sensor's configuration.",
                f"{marker} has mode {stat.S_IMODE(marker.stat().st_mode):o}",
                f"chmod o-w {marker}",
            )


def _is_foreign(entry: os.DirEntry[str], owner: int) -> bool:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        # A sensor that runs replaces files all the time.
        return False
    # A service's own directories are made by systemd, for the same user.
    return found.st_uid != owner and not entry.is_symlink()


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _writable_by(directory: Path, owner: int) -> bool:
    found = directory.stat()
    # Root's own rights are not limited by the mode; those of a service are.
    if found.st_uid == owner:
        return bool(found.st_mode & stat.S_IWUSR and found.st_mode & stat.S_IXUSR)
    return bool(found.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
