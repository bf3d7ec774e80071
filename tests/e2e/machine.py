"""Machines that the scenarios run on.

`Machine` is the part of NixOS' test driver that the scenarios of ``tests/nixos`` use,
with the same names and meanings. `NspawnMachine` is a Debian with a real systemd as its
first process, in namespaces of its own.
"""

from __future__ import annotations

import abc
import contextlib
import fnmatch
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from layers import VENV, overlay_options
from namespaces import (
    NamespaceError,
    first_process,
    make_control_group,
    remove_control_group,
)

PATIENCE = 60.0
"""Seconds that something is waited for unless said otherwise."""

VERBOSE = bool(os.environ.get("ACOUPI_TEST_VERBOSE"))
"""Whether to show what commands say on standard error."""

BOOT_TIMEOUT = 75.0
"""Seconds after which a boot has failed; it takes about one."""


class MachineError(Exception):
    """A machine did not do what was asked of it."""


class Machine(abc.ABC):
    """A machine with systemd that runs commands as root.

    Parameters
    ----------
    name : str
        Shown in messages.
    directory : Path
        Where what it writes is kept.
    """

    boots = 0
    """How often any machine of the kind was booted."""
    retries = 0
    """How often a boot had to be tried again."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def console(self) -> str:
        """What was printed on the console since the last boot."""
        try:
            return (self._directory / "console").read_text(errors="replace")
        except OSError:
            return ""

    def start(self) -> None:
        """Boot, and return when commands can be run.

        A boot that hangs is tried once more, which is counted.
        """
        if self._process is not None:
            return
        try:
            self.boot()
        except (MachineError, NamespaceError):
            type(self).retries += 1
            self.crash()
            self.boot()

    @abc.abstractmethod
    def boot(self) -> None:
        """Boot once, without another try; who does it counts it in `boots`."""

    @abc.abstractmethod
    def crash(self) -> None:
        """Cut the power."""

    @abc.abstractmethod
    def shutdown(self) -> None:
        """Shut down in order."""

    @abc.abstractmethod
    def execute(
        self, command: str, timeout: float | None = PATIENCE
    ) -> tuple[int, str]:
        """Run a command in Bash (``set -euo pipefail``).

        Returns
        -------
        tuple of int and str
            Exit code and standard output.
        """

    @abc.abstractmethod
    def copy_from_host(self, source: str, target: str) -> None:
        """Copy a file or directory into the machine."""

    def discard(self) -> None:
        """Crash, and forget what the machine wrote."""
        self.crash()
        shutil.rmtree(self._directory, ignore_errors=True)

    def reboot(self) -> None:
        """Shut down in order and boot."""
        self.shutdown()
        self.start()

    def succeed(self, *commands: str, timeout: float | None = PATIENCE) -> str:
        """Run commands that must succeed; return what they print."""
        output = ""
        for command in commands:
            code, text = self.execute(command, timeout)
            if code != 0:
                raise MachineError(f"`{command}` failed with {code}: {text}")
            output += text
        return output

    def fail(self, *commands: str, timeout: float | None = PATIENCE) -> str:
        """Run commands that must fail; return what they print."""
        output = ""
        for command in commands:
            code, text = self.execute(command, timeout)
            if code == 0:
                raise MachineError(f"`{command}` succeeded: {text}")
            output += text
        return output

    def wait_until_succeeds(self, command: str, timeout: float = PATIENCE) -> str:
        """Repeat a command until it succeeds; return what it prints."""
        return self._repeat(command, timeout, wanted=True)

    def wait_until_fails(self, command: str, timeout: float = PATIENCE) -> str:
        """Repeat a command until it fails; return what it prints."""
        return self._repeat(command, timeout, wanted=False)

    def wait_for_unit(self, unit: str, timeout: float = PATIENCE) -> None:
        """Wait until a unit is active; a unit that has failed is an error."""
        self.wait_until_succeeds(
            f"systemctl is-active {unit} || test failed = "
            f"$(systemctl show --value --property=ActiveState {unit})",
            timeout,
        )
        state = self.succeed(f"systemctl show --value --property=ActiveState {unit}")
        if state.strip() != "active":
            raise MachineError(f"{unit} is {state.strip()}")

    def wait_for_file(self, filename: str, timeout: float = PATIENCE) -> None:
        """Wait until a file exists."""
        self.wait_until_succeeds(f"test -e {shlex.quote(filename)}", timeout)

    def _repeat(self, command: str, timeout: float, *, wanted: bool) -> str:
        deadline = time.monotonic() + timeout
        pause = 0.1
        while True:
            left = max(1.0, deadline - time.monotonic())
            code, text = self.execute(command, left)
            if (code == 0) is wanted:
                return text
            if time.monotonic() > deadline:
                does = "succeed" if wanted else "fail"
                raise MachineError(
                    f"`{command}` did not {does} within {timeout:g} s: {text}"
                )
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)


class NspawnMachine(Machine):
    """A machine in namespaces of this one; what it writes is in memory.

    What it wrote survives `crash` and `reboot`, and is gone after `discard`.

    Parameters
    ----------
    name : str
        Shown in messages.
    layers : sequence of Path
        The file system to boot from, topmost layer first.
    directory : Path, optional
        Where it writes instead of memory; what is there already is as it was left.
    binds : mapping, optional
        Directories of this machine that it has, by where it has them.
    """

    def __init__(
        self,
        name: str,
        layers: Sequence[Path],
        directory: Path | None = None,
        binds: Mapping[str, Path] | None = None,
    ) -> None:
        super().__init__(name, directory or scratch_directory(f"e2e-{name}-"))
        self._binds = dict(binds or {})
        self._layers = list(layers)
        self._upper = self._directory / "upper"
        if not self._upper.exists():
            (self._upper / "etc").mkdir(parents=True)
            (self._upper / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
            _write_start(self._upper / "usr/sbin/start")
        self._groups: Path | None = None
        self._first: int | None = None

    def write(self, path: str, text: str) -> None:
        """Write a file before the first boot."""
        file = self._upper / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def boot(self) -> None:
        """Boot once, without another try."""
        type(self).boots += 1
        root = self._directory / "root"
        root.mkdir(exist_ok=True)
        self._groups = make_control_group()
        # Mounts and processes end with these namespaces, whatever happens to us.
        script = """
set -eu
group=$1 options=$2 root=$3; shift 3
echo 0 >"$group/cgroup.procs"
exec unshare --mount --propagation=private --cgroup --pid --fork --kill-child \\
    sh -c '
set -eu
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t overlay -o "$1" overlay "$2"
root=$2; shift 2
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \\
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 \\
    systemd-nspawn --quiet --register=no --keep-unit \\
    --private-network --link-journal=no --console=read-only --kill-signal=SIGRTMIN+3 \\
    --resolv-conf=off --timezone=off --directory="$root" "$@" -- /sbin/start
' - "$options" "$root" "$@"
"""
        options = overlay_options(self._layers, self._upper, self._directory)
        with (self._directory / "console").open("wb") as console:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig=KILL", "sh", "-c", script, "-"),
                    *(str(self._groups), options, str(root)),
                    *(f"--bind={here}:{there}" for there, here in self._binds.items()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + BOOT_TIMEOUT
        while True:
            self._first = first_process(self._process.pid)
            if self._first is not None and self._is_up():
                return
            if self._process.poll() is not None:
                raise MachineError(f"{self.name} did not boot: {self.console[-2000:]}")
            if time.monotonic() > deadline:
                raise MachineError(f"{self.name} did not boot within {BOOT_TIMEOUT} s")
            time.sleep(0.05)

    def _is_up(self) -> bool:
        # "degraded" is up, too: the scenarios look for failed units themselves.
        try:
            _, state = self.execute("systemctl is-system-running", 10)
        except MachineError:
            return False
        return state.strip() in {"running", "degraded"}

    def execute(
        self, command: str, timeout: float | None = PATIENCE
    ) -> tuple[int, str]:
        """Run a command, as `Machine.execute`."""
        if self._first is None:
            raise MachineError(f"{self.name} does not run")
        environment = [
            *("env", "-i", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb", "USER=root"),
            f"PATH=/usr/local/bin:{VENV}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ]
        process = subprocess.Popen(
            [
                *("nsenter", f"--target={self._first}", "--mount", "--uts", "--ipc"),
                *("--net", "--pid", "--cgroup", "--root", "--wdns=/root"),
                *(*environment, "bash", "-c", f"set -euo pipefail; {command}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if VERBOSE else subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise MachineError(f"`{command}` did not end in {timeout:g} s") from error
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
        return process.returncode, output.decode(errors="replace")

    def processes_of(self, pattern: str) -> dict[str, list[int]]:
        """Return the processes of services by their names, numbered as seen here.

        Parameters
        ----------
        pattern : str
            Names of the units, as of file names: ``acoupi-*.service``.
        """
        found: dict[str, list[int]] = {}
        # A service may end meanwhile, and its directory go, which glob() stumbles over.
        for directory, _, _ in os.walk(self._groups) if self._groups else ():
            group = Path(directory)
            if fnmatch.fnmatch(group.name, pattern):
                with contextlib.suppress(OSError):
                    processes = (group / "cgroup.procs").read_text()
                    found[group.name] = [int(it) for it in processes.split()]
        return found

    def inside(self, path: str) -> Path:
        """Return where a file of the machine, which runs, is seen from here."""
        # Through the machine's own view, since an overlay is not to be written below.
        return Path(f"/proc/{self._first}/root") / path.lstrip("/")

    def copy_from_host(self, source: str, target: str) -> None:
        """Copy a file or directory, as `Machine.copy_from_host`."""
        inside = self.inside(target)
        inside.parent.mkdir(parents=True, exist_ok=True)
        if Path(source).is_dir():
            shutil.copytree(source, inside, dirs_exist_ok=True)
        else:
            shutil.copy(source, inside)

    def copy_to_host(self, source: str, target: str) -> None:
        """Copy a file or directory out of the machine."""
        inside = self.inside(source)
        if inside.is_dir():
            shutil.copytree(inside, target, dirs_exist_ok=True)
        else:
            shutil.copy(inside, target)

    def shutdown(self) -> None:
        """Shut down in order; services have their time to end."""
        if self._process is None:
            return
        with contextlib.suppress(MachineError):
            self.execute("systemctl poweroff --no-block", 30)
        try:
            self._process.wait(BOOT_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            self.crash()
            raise MachineError(f"{self.name} did not shut down") from error
        self._ended()

    def cut_power(self) -> None:
        """Kill every process at once, from whatever thread; `crash` is to follow."""
        if self._groups is not None:
            with contextlib.suppress(OSError):
                (self._groups / "cgroup.kill").write_text("1")

    def crash(self) -> None:
        """Kill every process at once."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._ended()

    def _ended(self) -> None:
        self._process = self._first = None
        if self._groups is not None:
            remove_control_group(self._groups)
            self._groups = None


def _write_start(path: Path) -> None:
    """Write what becomes systemd."""
    # nspawn covers the boot's identity by one of its own, which confined services do
    # not see: to them it would look as if the others' files were of another boot.
    path.parent.mkdir(parents=True)
    path.write_text(
        "#!/bin/sh\n"
        "umount /proc/sys/kernel/random/boot_id\n"
        "exec /lib/systemd/systemd systemd.log_target=journal systemd.show_status=0\n"
    )
    path.chmod(0o755)


def scratch_directory(prefix: str) -> Path:
    """Make a directory that is in memory where there is enough."""
    memory = Path("/dev/shm")
    in_memory = memory.is_dir() and shutil.disk_usage(memory).free > 1e9
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if in_memory else None))
