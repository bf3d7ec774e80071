"""Sensors on virtual machines: a kernel of their own, real devices, power to cut."""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import agent
from agent_connection import AgentConnection
from disk_image import BootFiles
from machine import PATIENCE, Machine, MachineError, scratch_directory
from qemu_monitor import Monitor
from volatile_disk import VolatileDisk

BOOT_TIMEOUT = 75.0
"""Seconds after which a boot has failed; without help of the processor it takes 15."""

SLOWNESS = 4
"""How many times the time that something may take elsewhere it may take here."""

NICE = -15

PIECE = 1 << 19
"""Bytes that are copied into a machine at once; of more, the agent is slow to read."""

PROCESSOR = "max,avx=off,avx2=off"
"""Without what QEMU 7.2 imitates badly: numpy dies by SIGSEGV in its AVX2 code."""

KERNEL_OPTIONS = (
    *("console=ttyS0", "root=/dev/vda", "quiet", "loglevel=5", "panic=1"),
    *("mitigations=off", "nokaslr", "random.trust_cpu=on", "audit=0"),
    *("systemd.log_target=journal", "net.ifnames=0"),
)

PLAY = "aplay --quiet --device=speaker"
"""Plays a sound file to the microphone of a virtual machine."""

MICROPHONE = "card:Loopback.1"
"""The identity of that microphone."""


class VirtualMachine(Machine):
    """A virtual machine (QEMU, without help of the processor).

    What it wrote survives `crash` and `reboot`, and is gone after `discard`.

    Parameters
    ----------
    name : str
        Shown in messages.
    boot : BootFiles
        What it boots from; what it writes goes to a copy.
    memory : int
        In MB.
    disk : VolatileDisk, optional
        A second disk, ``/dev/vdb``; the first one loses with the power, too, what was
        not flushed, but not in every possible way.
    network : bool
        Whether it reaches this machine, as the address 10.0.2.2.
    extra : sequence of str
        More options of QEMU's.
    """

    def __init__(
        self,
        name: str,
        boot: BootFiles,
        *,
        memory: int = 1024,
        disk: VolatileDisk | None = None,
        network: bool = False,
        extra: Sequence[str] = (),
    ) -> None:
        super().__init__(name, scratch_directory(f"vm-{name}-"))
        self.disk = disk
        self._boot_files = boot
        self._memory = memory
        self._network = network
        self._extra = list(extra)
        self._root = self._directory / "root.qcow2"
        self._monitor_path = self._directory / "monitor"
        self._agent: AgentConnection | None = None

    @property
    def told(self) -> Path:
        """What programs wrote to the port ``org.acoupi.told`` since the last boot."""
        return self._directory / "told"

    def boot(self, *, settled: bool = True) -> None:
        """Boot once, without another try.

        Parameters
        ----------
        settled : bool
            Whether to return only when every service was started; otherwise when
            commands can be run.
        """
        type(self).boots += 1
        if not self._root.exists():
            _run(
                *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"),
                *("-b", str(self._boot_files.disk), str(self._root)),
            )
        deadline = time.monotonic() + BOOT_TIMEOUT
        self._launch(deadline)
        assert self._agent is not None
        if self._agent.hello(deadline) is None:
            raise MachineError(
                f"{self.name} did not boot within {BOOT_TIMEOUT:g} s: "
                f"{self.console[-2000:]}"
            )
        if settled:
            self._settle(deadline)

    def save(self, directory: Path) -> None:
        """Stop, and keep memory and disks, so that `go_on_from` can follow."""
        monitor = Monitor(self._monitor_path)
        monitor.save(directory / "memory")
        monitor.close()
        # QEMU has flushed the disks.
        self.crash()
        shutil.copy(self._root, directory / "root")
        if self.disk is not None:
            _copy_image(self.disk.image, directory / "data")

    def go_on_from(self, directory: Path) -> None:
        """Be what was saved, and go on."""
        shutil.copy(directory / "root", self._root)
        if self.disk is not None:
            _copy_image(directory / "data", self.disk.image)
        self._launch(
            time.monotonic() + BOOT_TIMEOUT,
            *("-S", "-incoming", f"exec:cat {directory / 'memory'}"),
        )
        monitor = Monitor(self._monitor_path)
        monitor.go_on()
        monitor.close()

    def _launch(self, deadline: float, *more: str) -> None:
        if self.disk is not None:
            self.disk.power_on()
        socket_path = self._directory / "agent"
        for path in (socket_path, self._monitor_path, self.told):
            path.unlink(missing_ok=True)
        with (self._directory / "console").open("wb") as console:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *self._command(socket_path), *more],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Its sound is in real time, whatever else this machine does. Where sessions
        # share the processor, only the session's share counts.
        with contextlib.suppress(OSError):
            Path(f"/proc/{self._process.pid}/autogroup").write_text(f"{NICE}\n")
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICE)
        self._agent = AgentConnection(self._process, socket_path, deadline)

    def _settle(self, deadline: float) -> None:
        # "degraded" is up, too: the scenarios look for failed units themselves.
        while True:
            _, state = self.execute("systemctl is-system-running || true", 30)
            if state.strip() in {"running", "degraded"}:
                return
            if time.monotonic() > deadline:
                _, jobs = self.execute("systemctl --no-pager list-jobs", 30)
                raise MachineError(f"{self.name} is {state.strip()}: {jobs}")
            time.sleep(0.3)

    def _command(self, socket_path: Path) -> list[str]:
        boot = self._boot_files
        options = list(KERNEL_OPTIONS)
        if self.disk is None:
            options.append("systemd.mask=var-lib-acoupi.mount")
        command = [
            *("qemu-system-x86_64", "-M", "q35", "-cpu", PROCESSOR, "-smp", "2"),
            *("-accel", "tcg,thread=multi,tb-size=512", "-m", str(self._memory)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-qmp", f"unix:{self._monitor_path},server=on,wait=off"),
            *("-serial", "stdio", "-kernel", str(boot.kernel)),
            *("-initrd", str(boot.initial), "-append", " ".join(options)),
            *_drive("root", f"file={self._root},format=qcow2,cache=writeback"),
        ]
        if self.disk is not None:
            command += _drive("data", f"file={self.disk.address},format=raw,cache=none")
        command += [
            *("-chardev", f"socket,id=agent,path={socket_path},server=on,wait=off"),
            *("-device", "virtio-serial-pci"),
            *("-device", f"virtserialport,chardev=agent,name={agent.PORT}"),
            *("-chardev", f"file,id=told,path={self.told}"),
            *("-device", "virtserialport,chardev=told,name=org.acoupi.told"),
        ]
        if self._network:
            command += [
                "-netdev",
                "user,id=net",
                "-device",
                "virtio-net-pci,netdev=net",
            ]
        else:
            command += ["-nic", "none"]
        return [*command, *self._extra]

    def execute(
        self, command: str, timeout: float | None = PATIENCE
    ) -> tuple[int, str]:
        """Run a command, as `Machine.execute`."""
        return self._execute(command, b"", timeout)

    def _execute(
        self, command: str, given: bytes, timeout: float | None = PATIENCE
    ) -> tuple[int, str]:
        if self._agent is None:
            raise MachineError(f"{self.name} does not run")
        if timeout is not None:
            timeout *= SLOWNESS
        code, output = self._agent.execute(command, timeout, given)
        if code is None:
            raise MachineError(f"`{command}` did not end in {timeout:g} s")
        return code, output.decode(errors="replace")

    def copy_from_host(self, source: str, target: str) -> None:
        """Copy a file or directory, as `Machine.copy_from_host`."""
        path = Path(source)
        for file in [path] if path.is_file() else path.rglob("*"):
            inside = Path(target) / file.relative_to(path) if file != path else target
            name = shlex.quote(str(inside))
            if file.is_dir():
                self.succeed(f"mkdir -p {name}")
                continue
            self.succeed(f"mkdir -p $(dirname {name}); : >{name}")
            content = file.read_bytes()
            for begin in range(0, len(content), PIECE):
                command = f"cat >>{name}"
                code, _ = self._execute(command, content[begin : begin + PIECE])
                if code != 0:
                    raise MachineError(f"`{command}` failed: {code}")

    def copy_to_host(self, source: str, target: str) -> None:
        """Copy a file out of the machine."""
        text = self.succeed(f"base64 -w0 {shlex.quote(source)}")
        Path(target).write_bytes(base64.b64decode(text))

    def shutdown(self) -> None:
        """Shut down in order; services have their time to end."""
        if self._process is None:
            return
        with contextlib.suppress(MachineError):
            self.execute("systemctl poweroff --no-block", 30)
        try:
            self._process.wait(2 * BOOT_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            self.crash()
            raise MachineError(f"{self.name} did not shut down") from error
        if self.disk is not None:
            self.disk.power_off()
        self._ended()

    def crash(self) -> None:
        """Cut the power; what the second disk had not flushed is flushed.

        To lose it, use `kill` and the disk's own `VolatileDisk.cut`.
        """
        self.kill()
        if self.disk is not None:
            self.disk.power_off()

    def kill(self) -> None:
        """Cut the power of everything but the second disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._ended()

    def cut_power(self) -> None:
        """Stop it at once, from whatever thread; `kill` is still to follow."""
        process = self._process
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    def _ended(self) -> None:
        self._process = None
        if self._agent is not None:
            self._agent.close()
            self._agent = None


def _drive(name: str, options: str) -> list[str]:
    return [
        *("-drive", f"if=none,id={name},{options}"),
        *("-device", f"virtio-blk-pci,drive={name}"),
    ]


def _copy_image(source: Path, target: Path) -> None:
    _run("cp", "--sparse=always", str(source), str(target))


def _run(*command: str) -> None:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60
    )
    if done.returncode != 0:
        raise MachineError(f"{command[0]} failed: {done.stderr.strip()}")
