"""Where everything of a sensor lives: all paths derive from one home directory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HOME_VARIABLE", "Settings", "home_in_environment"]

HOME_VARIABLE = "ACOUPI_HOME"
"""Environment variable that names the home directory."""

_LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107, and servers append suffixes."""

_SHORT_DIRECTORY = Path("/tmp")  # noqa: S108 - the broker makes a private one in it
"""Fixed, because the environment differs between a login and a service."""


def _default_home() -> Path:
    named = os.environ.get(HOME_VARIABLE)
    return Path(named) if named else Path.home() / ".acoupi"


@contextmanager
def home_in_environment(home: Path) -> Iterator[None]:
    """Let schemas whose defaults depend on the home see this one for a while."""
    former = os.environ.get(HOME_VARIABLE)
    os.environ[HOME_VARIABLE] = str(home)
    try:
        yield
    finally:
        if former is None:
            del os.environ[HOME_VARIABLE]
        else:
            os.environ[HOME_VARIABLE] = former


@dataclass(frozen=True, init=False)
class Settings:
    """The paths of one sensor.

    Parameters
    ----------
    home : Path or str, optional
        Home directory. Default: the environment variable ``ACOUPI_HOME``, else
        ``~/.acoupi``.
    """

    home: Path

    def __init__(self, home: Path | str | None = None) -> None:
        chosen = Path(home) if home is not None else _default_home()
        absolute = Path(os.path.normpath(chosen.expanduser().absolute()))
        object.__setattr__(self, "home", absolute)

    @property
    def app_file(self) -> Path:
        """Script that exposes the Celery app."""
        return self.home / "app.py"

    @property
    def bin_dir(self) -> Path:
        """Directory of the scripts that start and stop the processes."""
        return self.home / "bin"

    @property
    def beat_script(self) -> Path:
        """Script that runs beat."""
        return self.bin_dir / "acoupi-beat.sh"

    @property
    def start_script(self) -> Path:
        """Script that starts the workers, or runs one in the foreground."""
        return self.bin_dir / "acoupi-workers-start.sh"

    @property
    def stop_script(self) -> Path:
        """Script that stops the workers."""
        return self.bin_dir / "acoupi-workers-stop.sh"

    @property
    def restart_script(self) -> Path:
        """Script that restarts the workers."""
        return self.bin_dir / "acoupi-workers-restart.sh"

    @property
    def scripts(self) -> tuple[Path, ...]:
        """Every script that starts or stops processes."""
        return (
            self.beat_script,
            self.start_script,
            self.stop_script,
            self.restart_script,
        )

    @property
    def config_dir(self) -> Path:
        """Directory of the configuration files."""
        return self.home / "config"

    @property
    def program_file(self) -> Path:
        """Configuration of the program; may hold secrets."""
        return self.config_dir / "program.json"

    @property
    def celery_file(self) -> Path:
        """Configuration of Celery; may hold secrets."""
        return self.config_dir / "celery.json"

    @property
    def name_file(self) -> Path:
        """File that holds the dotted name of the program's module."""
        return self.config_dir / "name"

    @property
    def deployment_file(self) -> Path:
        """File that holds the current deployment."""
        return self.config_dir / "deployment.json"

    @property
    def managed_file(self) -> Path:
        """File that names who manages the configuration; absent when the user does."""
        return self.config_dir / "managed"

    @property
    def log_dir(self) -> Path:
        """Directory of the logs."""
        return self.home / "log"

    @property
    def run_dir(self) -> Path:
        """Directory of process ids and of the processes' own status files."""
        return self.home / "run"

    @property
    def broker_socket(self) -> Path:
        """Unix socket of the embedded broker.

        Within the home, unless its path is too long for a socket: then in a short
        directory derived from the home, private to the user, that the broker makes.
        """
        inside = self.run_dir / "broker.sock"
        if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH:
            return inside
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return _SHORT_DIRECTORY / f"acoupi-{digest}" / "broker.sock"

    @property
    def is_set_up(self) -> bool:
        """Whether a program has been set up in this home."""
        return self.program_file.is_file() and (
            # An empty one is what a full disk or another tool leaves.
            self.name_file.is_file() and self.name_file.stat().st_size > 0
        )

    @property
    def managed_by(self) -> str | None:
        """Who manages the configuration, None when the user does."""
        try:
            return self.managed_file.read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
