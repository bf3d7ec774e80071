"""A sensor whose power can be cut, with its home on a disk that loses its cache."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import tempfile
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from aftermath import Aftermath, inspect
from disk_image import CHIRPS, BootFiles
from installation import ACTIVITY, config_of, install_sensor
from machine import MachineError, scratch_directory
from sensor import Sensor, eventually
from sound import write_chirps
from virtual_machine import MICROPHONE, PLAY, VirtualMachine
from volatile_disk import Loss, Request, VolatileDisk
from witness import UNIT, WITNESS, Testimony

from acoupi.testing.http import HTTPSink, ReceivedRequest

HOME = "/var/lib/acoupi"
SIZE = "400M"
"""Of the disk with the home."""

RECORDING_TIMEOUT = 240.0
"""Seconds of this machine's, which may be busy, until a sensor has to record again."""

WARMING_TIMEOUT = 480.0
"""Seconds until it has kept recordings and sent messages for the first time."""

Watch = Callable[[Request], bool]


class PowerRig:
    """A sensor, its disk, and the server that it sends its messages to.

    Parameters
    ----------
    boot : BootFiles
        What it boots from.
    waiting_on_disk : bool
        Whether recordings wait on the disk for their decision, not in memory.
    """

    def __init__(self, boot: BootFiles, *, waiting_on_disk: bool = False) -> None:
        self.waiting_on_disk = waiting_on_disk
        self.told = Testimony()
        self.sink = HTTPSink()
        self.cut_off = threading.Event()
        self._directory = scratch_directory("power-")
        self.disk = VolatileDisk(self._directory / "data.img", self._directory / "nbd")
        self.disk.when_cut = self.cut_now
        self.machine = VirtualMachine(
            "powercut", boot, memory=768, disk=self.disk, network=True
        )
        self.sensor: Sensor | None = None
        self._told_then = Testimony()
        self._received_then: list[ReceivedRequest] = []

    def __enter__(self) -> Self:
        self.sink.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.discard()
        self.sink.stop()
        subprocess.run(["rm", "-rf", str(self._directory)], check=False)

    def config(self) -> dict[str, Any]:
        """Return the sensor's configuration."""
        config = copy.deepcopy(config_of(ACTIVITY))
        config["microphone"]["device_name"] = MICROPHONE
        # No more than a processor without help keeps up with.
        config["recording"].update(duration=1, interval=2)
        config["retention"] = {"min_free_space": 20}
        del config["messaging"]["mqtt"]
        address = f"http://10.0.2.2:{self.sink.port}/messages"
        config["messaging"]["http"] = {"base_url": address, "timeout": 20}
        if self.waiting_on_disk:
            config["paths"] = {"tmp_audio": f"{HOME}/waiting"}
        return config

    def set_up(self) -> None:
        """Make the disk, set the sensor up, and see it record."""
        subprocess.run(["truncate", "--size", SIZE, str(self.disk.image)], check=True)
        make = ["mke2fs", "-q", "-t", "ext4", "-L", "sensor", "-E", "nodiscard"]
        subprocess.run(
            [*make, str(self.disk.image)],
            check=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        self.machine.start()
        with tempfile.TemporaryDirectory(prefix="acoupi-power-") as name:
            chirps = Path(name) / "chirps.wav"
            _write_sound(chirps)
            self.machine.copy_from_host(str(chirps), CHIRPS)
            for path, text in (
                ("/opt/witness", WITNESS),
                ("/etc/systemd/system/witness.service", UNIT),
            ):
                file = Path(name) / "file"
                file.write_text(text)
                self.machine.copy_from_host(str(file), path)
            # What is the tests' own is on the disk; what is the sensor's is its affair.
            self.machine.succeed("systemctl enable --now witness.service; sync")
            self.sensor = install_sensor(
                self.machine, str(chirps), config=self.config(), play=PLAY
            )

    def warm_up(self) -> None:
        """See it keep recordings and send, and save that state for `go_on`."""
        try:
            eventually("kept recordings and messages", self._is_busy, WARMING_TIMEOUT)
        except AssertionError as error:
            raise MachineError(f"{error}: {self.explain()}") from error
        self.told.take(self.machine.told)
        self.machine.save(self._directory)
        self._told_then = copy.deepcopy(self.told)
        self._received_then = list(self.sink.received)

    def _is_busy(self) -> bool:
        seen = Testimony()
        seen.take(self.machine.told)
        kept = sum(state == "kept" for state, _ in seen.recordings.values())
        return kept >= 2 and "sent" in seen.messages.values()

    def go_on(self) -> None:
        """Be as `warm_up` left it, and go on; what came later never was."""
        self.cut_off.clear()
        self.told = copy.deepcopy(self._told_then)
        self.sink.received[:] = self._received_then
        self.machine.go_on_from(self._directory)

    def boot(self) -> None:
        """Boot until commands can be run; a boot that hangs is tried once more."""
        self.cut_off.clear()
        try:
            self.machine.boot(settled=False)
        except MachineError:
            VirtualMachine.retries += 1
            self.machine.crash()
            self.machine.boot(settled=False)

    def wait_for_recording(self) -> bool:
        """Wait until this boot has stored a recording; tell whether it has in time."""
        deadline = time.monotonic() + RECORDING_TIMEOUT
        boot = None
        while time.monotonic() < deadline:
            seen = Testimony()
            seen.take(self.machine.told)
            boot = seen.boot or boot
            if boot and seen.boots.get(boot):
                return True
            time.sleep(0.2)
        return False

    def strike(self, watch: Watch | None, patience: float) -> bool:
        """Cut the power when the disk sees what is watched for, or after a while.

        Returns
        -------
        bool
            Whether it was seen.
        """
        self.disk.watch = watch
        seen = self.cut_off.wait(patience)
        self.cut_now()
        return seen

    def cut_now(self) -> None:
        """Cut the power, from whatever thread; `settle` is still to follow."""
        self.disk.freeze()
        self.machine.cut_power()
        self.cut_off.set()

    def settle(self, seed: int) -> Loss:
        """Take the machine away after its power was cut; lose what was not flushed."""
        self.machine.kill()
        self.disk.watch = None
        self.sink.judge = None
        self.told.take(self.machine.told)
        return self.disk.cut(seed)

    def inspect(self) -> Aftermath:
        """Judge what is on the disk, and what arrived."""
        found = inspect(self.disk.image, self._directory, self.told, HOME)
        found.wrong += messages_told_twice(self.sink.received)
        received = {it.headers.get("idempotency-key", "") for it in self.sink.received}
        for key, state in self.told.messages.items():
            if state == "sent" and key.split()[0] not in received:
                found.wrong.append(f"message {key} counts as sent, and did not arrive")
        return found

    def wait_for_rest(self) -> None:
        """Wait until what earlier boots left is decided and sent."""
        assert self.sensor is not None
        earlier = (
            "state = 'undecided' AND boot_id IS NOT (SELECT boot_id FROM recording"
            " ORDER BY number DESC LIMIT 1)"
        )
        sensor = self.sensor
        eventually(
            "what earlier boots left is decided",
            lambda: not sensor.count("recording", earlier),
            RECORDING_TIMEOUT,
        )
        newest = sensor.query("SELECT max(number) AS n FROM message")[0]["n"]
        eventually(
            "what waited is sent",
            lambda: (
                not sensor.count(
                    "delivery", f"state = 'waiting' AND message < {newest}"
                )
            ),
            RECORDING_TIMEOUT,
        )

    def explain(self) -> str:
        """Return what the machine says about a sensor that does not record."""
        try:
            return self.machine.execute(
                "systemctl --no-pager --failed; findmnt /var/lib/acoupi; uptime;"
                " journalctl --boot --no-pager | grep -v ' recorded ' | tail -n 80"
            )[1]
        except MachineError as error:
            return f"{error}: {self.machine.console[-1000:]}"


def messages_told_twice(received: list[ReceivedRequest]) -> list[str]:
    """Return what arrived in more than one wording, or under more than one key."""
    wrong = []
    contents: dict[str, set[bytes]] = {}
    keys: dict[str, set[str]] = {}
    for request in received:
        if request.method != "POST":
            continue
        key = request.headers.get("idempotency-key", "")
        contents.setdefault(key, set()).add(request.body)
        message = json.loads(request.body)
        if "detections" in message:
            keys.setdefault(message["recording"]["id"], set()).add(key)
    for key, bodies in contents.items():
        if len(bodies) > 1 or not key:
            wrong.append(f"message {key!r} arrived in {len(bodies)} wordings")
    for recording, under in keys.items():
        if len(under) > 1:
            wrong.append(f"the detections of {recording} arrived as {len(under)}")
    return wrong


def _write_sound(path: Path) -> None:
    """Write chirps, and a while in which there is little to hear."""
    write_chirps(str(path), seconds=4)
    with wave.open(str(path)) as file:
        parameters, chirps = file.getparams(), file.readframes(file.getnframes())
    noise = random.Random(2)
    quiet = b"".join(
        round(noise.gauss(0, 40)).to_bytes(2, "little", signed=True)
        for _ in range(4 * parameters.framerate)
    )
    with wave.open(str(path), "wb") as file:
        file.setparams(parameters)
        file.writeframes(chirps + quiet)
