"""A sensor in a container whose power can be cut.

The processes die at once, and what the file system of its home had not flushed is
lost as on a card. The kernel is this machine's and goes on; a boot takes a second.
"""

from __future__ import annotations

import ctypes
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import layers as system_layers
from layers import PYTHON, VENV
from loop_disk import LoopDisk
from machine import MachineError, NspawnMachine
from namespaces import NamespaceError
from power_rig import HOME, PowerRig
from receivers import Receiver, pump
from witness import UNIT, WITNESS

PORT = 8080
"""Of the first server, as the machine sees it; the next has the next."""

RELAY = """\
import glob, socket, threading
def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
def serve(port):
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        near, _ = listener.accept()
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect("/opt/rig/%d" % port)
        except OSError:
            near.close()
            continue
        threading.Thread(target=pump, args=(near, far), daemon=True).start()
        threading.Thread(target=pump, args=(far, near), daemon=True).start()
for path in glob.glob("/opt/rig/[0-9]*"):
    port = int(path.rpartition("/")[2])
    threading.Thread(target=serve, args=(port,)).start()
"""

RELAY_UNIT = """\
[Unit]
Description=The way to the servers of the tests
[Service]
ExecStart=/usr/bin/python3 -I /opt/relay
Restart=always
"""

PLAYER_UNIT = """\
[Unit]
Description=What is heard
After=microphone.service
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sh -c 'while :; do \\
paplay --server=unix:/run/microphone/native /opt/rig/sound.wav || sleep 0.5; done'
Restart=always
"""


DEVICES = {
    "/dev/fuse": "files that programs serve (FUSE)",
    "/dev/loop-control": "loop devices",
}
COMMANDS = ("mke2fs", "e2fsck", "debugfs")


def missing() -> str | None:
    """Return why no such sensor can be had here, None when one can."""
    for path, what in DEVICES.items():
        if not Path(path).exists():
            return f"there are no {what} here"
    for command in COMMANDS:
        if shutil.which(command, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            return f"{command} is not installed (Debian: e2fsprogs)"
    return system_layers.missing()


PACKAGES = f"{VENV}/lib/python{PYTHON}/site-packages"

CARELESS = "import os; os.fsync = os.fdatasync = lambda *_: None\n"
"""Has Python flush nothing."""


class ContainerRig(PowerRig):
    """A sensor in a container.

    Parameters
    ----------
    layers : sequence of Path
        What it boots from.
    waiting_on_disk, receivers
        As of `PowerRig`.
    owned : Path, optional
        A directory to delete at the end.
    careless : bool
        Whether the sensor flushes nothing, to see that this is noticed.
    """

    kind = "container"
    microphone = "microphone"
    play = "paplay --server=unix:/run/microphone/native"
    interval = 1
    boot_span = 12
    resumes = False

    def __init__(
        self,
        layers: Sequence[Path],
        *,
        waiting_on_disk: bool = False,
        receivers: Sequence[str] = ("http",),
        owned: Path | None = None,
        careless: bool = False,
    ) -> None:
        super().__init__(waiting_on_disk=waiting_on_disk, receivers=receivers)
        self._owned = owned
        self._careless = careless
        _leave_mounts_to_ourselves()
        self.disk = self.loop = LoopDisk(self.directory / "data.img", self.directory)
        self.disk.when_cut = self.cut_now
        self._shared = self.directory / "shared"
        self._shared.mkdir()
        self._shared.chmod(0o755)
        self.container = self.machine = NspawnMachine(
            "powercut",
            layers,
            binds={HOME: self.loop.mounted, "/opt/rig": self._shared},
        )
        self._relays: list[socket.socket] = []

    def address(self, receiver: Receiver) -> tuple[str, int]:
        """Return the host and port at which the machine reaches a server."""
        return "127.0.0.1", PORT + self.receivers.index(receiver)

    @property
    def told_path(self) -> Path:
        """What the witness told since the last boot."""
        return self._shared / "told"

    def prepare(self, sound: Path) -> None:
        """Boot for the first time, with the witness and with what plays a sound."""
        shutil.copy(sound, self._shared / "sound.wav")
        for receiver in self.receivers:
            relay = socket.socket(socket.AF_UNIX)
            relay.bind(str(self._shared / str(self.address(receiver)[1])))
            relay.listen(16)
            self._relays.append(relay)
            threading.Thread(
                target=_pass_on, args=(relay, receiver), daemon=True, name="relay"
            ).start()
        self.container.write("/opt/witness", WITNESS)
        self.container.write("/opt/relay", RELAY)
        for name, text in (
            ("witness", UNIT),
            ("relay", RELAY_UNIT),
            ("player", PLAYER_UNIT),
        ):
            path = f"/etc/systemd/system/{name}.service"
            self.container.write(path, text)
            self.container.write(
                f"/etc/systemd/system/multi-user.target.d/{name}.conf",
                f"[Unit]\nWants={name}.service\n",
            )
        if self._careless:
            self.container.write(f"{PACKAGES}/careless.pth", CARELESS)
        self.boot()
        if self._careless:
            self.machine.succeed(
                "sed -i 's/synchronous = FULL/synchronous = OFF/'"
                f" {PACKAGES}/acoupi/components/stores/database.py"
            )

    def go_on(self) -> None:
        """Go on as it runs: it is the first cut."""
        self.cut_off.clear()

    def boot(self) -> None:
        """Boot until commands can be run, or until the power is cut."""
        self.told_path.unlink(missing_ok=True)
        self.loop.power_on()
        self.zero = time.monotonic()
        try:
            self.container.boot()
        except (MachineError, NamespaceError):
            if self.cut_off.is_set():
                return
            NspawnMachine.retries += 1
            self.container.crash()
            self.container.boot()

    def kill(self) -> None:
        """Stop every process at once, from whatever thread."""
        self.container.cut_power()

    def collect(self) -> None:
        """Take away what is left of the machine."""
        self.container.crash()

    def discard(self) -> None:
        """End everything and forget what the machine wrote."""
        self.disk.freeze()
        self.container.cut_power()
        self.disk.machine_is_dead()
        self.container.discard()
        self.loop.power_off()
        for relay in self._relays:
            relay.close()
        if self._owned is not None:
            shutil.rmtree(self._owned, ignore_errors=True)


def _pass_on(relay: socket.socket, receiver: Receiver) -> None:
    while True:
        try:
            near, _ = relay.accept()
        except OSError:
            # At the end.
            return
        try:
            far = socket.create_connection(("127.0.0.1", receiver.port), 5)
        except OSError:
            near.close()
            continue
        far.settimeout(None)
        threading.Thread(target=_connect, args=(near, far), daemon=True).start()


def _connect(near: socket.socket, far: socket.socket) -> None:
    with near, far:
        back = threading.Thread(target=pump, args=(far, near), daemon=True)
        back.start()
        pump(near, far)
        back.join()


_apart = False


def _leave_mounts_to_ourselves() -> None:
    """Have what this thread and its children mount end with them."""
    global _apart  # noqa: PLW0603 - a namespace of the process is entered once
    if _apart:
        return
    if ctypes.CDLL(None, use_errno=True).unshare(0x00020000) != 0:
        raise MachineError("no namespace for mounts")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    _apart = True
