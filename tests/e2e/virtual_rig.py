"""A sensor on a virtual machine whose power can be cut."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path

from disk_image import CHIRPS, BootFiles
from machine import MachineError
from power_rig import PowerRig
from receivers import Receiver
from virtual_machine import MICROPHONE, PLAY, VirtualMachine
from volatile_disk import VolatileDisk
from witness import UNIT, WITNESS, Testimony


class VirtualRig(PowerRig):
    """A sensor on a virtual machine with a kernel of its own.

    Its boots are slow: most cuts begin with the saved state of a sensor that runs.

    Parameters
    ----------
    boot : BootFiles
        What it boots from.
    waiting_on_disk, receivers
        As of `PowerRig`.
    """

    kind = "virtual machine"
    microphone = MICROPHONE
    play = PLAY
    # No more than a processor without help keeps up with.
    interval = 3
    boot_span = 60
    resumes = True

    def __init__(
        self,
        boot: BootFiles,
        *,
        waiting_on_disk: bool = False,
        receivers: Sequence[str] = ("http",),
    ) -> None:
        super().__init__(waiting_on_disk=waiting_on_disk, receivers=receivers)
        self.disk = VolatileDisk(self.directory / "data.img", self.directory / "nbd")
        self.disk.when_cut = self.cut_now
        self.virtual = self.machine = VirtualMachine(
            "powercut", boot, memory=768, disk=self.disk, network=True
        )
        self._told_then = Testimony()
        self._arrived_then: list[int] = []

    def address(self, receiver: Receiver) -> tuple[str, int]:
        """Return the host and port at which the machine reaches a server."""
        return "10.0.2.2", receiver.port

    @property
    def told_path(self) -> Path:
        """What the witness told since the last boot."""
        return self.virtual.told

    def prepare(self, sound: Path) -> None:
        """Boot for the first time, with the witness and with what plays a sound."""
        self.machine.start()
        self.machine.copy_from_host(str(sound), CHIRPS)
        with tempfile.TemporaryDirectory(prefix="acoupi-power-") as name:
            for path, text in (
                ("/opt/witness", WITNESS),
                ("/etc/systemd/system/witness.service", UNIT),
            ):
                file = Path(name) / "file"
                file.write_text(text)
                self.machine.copy_from_host(str(file), path)
        # What is the tests' own is on the disk; what is the sensor's is its affair.
        self.machine.succeed("systemctl enable --now witness.service; sync")

    def warm_up(self) -> None:
        """See it keep recordings and send, and save that state for `go_on`."""
        super().warm_up()
        self.virtual.save(self.directory)
        self._told_then = copy.deepcopy(self.told)
        self._arrived_then = [len(it.arrived()) for it in self.receivers]

    def go_on(self) -> None:
        """Be as `warm_up` left it, and go on; what came later never was."""
        self.cut_off.clear()
        self.told = copy.deepcopy(self._told_then)
        for receiver, number in zip(self.receivers, self._arrived_then, strict=True):
            receiver.forget_after(number)
        self.virtual.go_on_from(self.directory)

    def boot(self) -> None:
        """Boot until commands can be run, or until the power is cut."""
        try:
            self.virtual.boot(settled=False)
        except MachineError:
            if self.cut_off.is_set():
                return
            VirtualMachine.retries += 1
            self.virtual.crash()
            self.virtual.boot(settled=False)

    def kill(self) -> None:
        """Stop the machine at once, from whatever thread."""
        self.virtual.cut_power()

    def collect(self) -> None:
        """Take away what is left of the machine."""
        self.virtual.kill()

    def discard(self) -> None:
        """End everything and forget what the machine wrote."""
        self.virtual.discard()
