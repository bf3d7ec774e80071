"""A sensor whose power can be cut, with its home on a disk that loses its cache."""

from __future__ import annotations

import abc
import copy
import json
import random
import subprocess
import tempfile
import threading
import time
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from aftermath import Aftermath, inspect
from installation import ACTIVITY, config_of, install_sensor
from machine import Machine, MachineError, scratch_directory
from receivers import RECEIVERS, Arrival, Receiver
from sensor import Sensor, eventually
from sound import write_chirps
from volatile_disk import Loss, Request, VolatileDisk
from witness import Testimony

HOME = "/var/lib/acoupi"
SIZE = "400M"
"""Of the disk with the home."""

RECORDING_TIMEOUT = 240.0
"""Seconds of this machine's, which may be busy, until a sensor has to record again."""

WARMING_TIMEOUT = 480.0
"""Seconds until it has kept recordings and sent messages for the first time."""

Watch = Callable[[Request], bool]


class PowerRig(abc.ABC):
    """A sensor, its disk, and the servers that it sends its messages to.

    Parameters
    ----------
    waiting_on_disk : bool
        Whether recordings wait on the disk for their decision, not in memory.
    receivers : sequence of str
        Kinds of the servers (`RECEIVERS`); each gets every message.
    """

    kind: str
    """What the sensor runs on."""
    microphone: str
    play: str
    """Command that plays a sound file to the microphone."""
    interval: float
    """Seconds between recordings that it keeps up with."""
    boot_span: float
    """Seconds within which the power is cut when it is cut during a boot."""
    resumes: bool
    """Whether the saved state of a running sensor can be had again."""
    machine: Machine
    disk: VolatileDisk

    def __init__(
        self, *, waiting_on_disk: bool = False, receivers: Sequence[str] = ("http",)
    ) -> None:
        self.waiting_on_disk = waiting_on_disk
        self.told = Testimony()
        self.cut_off = threading.Event()
        self.directory = scratch_directory("power-")
        self.receivers = [RECEIVERS[it](self.directory / it) for it in receivers]
        self.sensor: Sensor | None = None
        self.newest = 0
        """The highest number of a recording before the last boot."""
        self.zero = 0.0
        """When that boot began, on the clock that recordings are dated by."""

    def __enter__(self) -> Self:
        for receiver in self.receivers:
            receiver.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()
        for receiver in self.receivers:
            receiver.stop()
        subprocess.run(["rm", "-rf", str(self.directory)], check=False)

    @abc.abstractmethod
    def address(self, receiver: Receiver) -> tuple[str, int]:
        """Return the host and port at which the machine reaches a server."""

    @property
    @abc.abstractmethod
    def told_path(self) -> Path:
        """What the witness told since the last boot."""

    @abc.abstractmethod
    def prepare(self, sound: Path) -> None:
        """Boot for the first time, with the witness and with what plays a sound."""

    @abc.abstractmethod
    def boot(self) -> None:
        """Boot until commands can be run, or until the power is cut."""

    @abc.abstractmethod
    def go_on(self) -> None:
        """Be as `warm_up` left it, and go on."""

    @abc.abstractmethod
    def kill(self) -> None:
        """Stop every process of the machine at once, from whatever thread."""

    @abc.abstractmethod
    def collect(self) -> None:
        """Take away what is left of the machine after `kill`."""

    @abc.abstractmethod
    def discard(self) -> None:
        """End everything and forget what the machine wrote."""

    def config(self) -> dict[str, Any]:
        """Return the sensor's configuration."""
        config = copy.deepcopy(config_of(ACTIVITY))
        config["microphone"]["device_name"] = self.microphone
        config["recording"].update(duration=1, interval=self.interval)
        config["retention"] = {"min_free_space": 20}
        config["messaging"]["message_send_interval"] = self.interval
        del config["messaging"]["mqtt"]
        for receiver in self.receivers:
            settings = receiver.settings(*self.address(receiver))
            config["messaging"][receiver.destination] = settings
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
        with tempfile.TemporaryDirectory(prefix="acoupi-power-") as name:
            chirps = Path(name) / "chirps.wav"
            _write_sound(chirps)
            self.prepare(chirps)
            self.sensor = install_sensor(
                self.machine,
                str(chirps),
                config=self.config(),
                play=self.play,
                patience=RECORDING_TIMEOUT,
            )

    def warm_up(self) -> None:
        """See it keep recordings and send."""
        try:
            eventually("kept recordings and messages", self._is_busy, WARMING_TIMEOUT)
        except AssertionError as error:
            raise MachineError(f"{error}: {self.explain()}") from error
        self.told.take(self.told_path)

    def _is_busy(self) -> bool:
        seen = Testimony()
        seen.take(self.told_path)
        kept = sum(state == "kept" for state, _ in seen.recordings.values())
        sent = {key for key, state in seen.messages.items() if state == "sent"}
        told = {key.split()[1] for key in sent}
        return kept >= 2 and told == {it.destination for it in self.receivers}

    def wait_for_recording(self) -> bool:
        """Wait until this boot has stored a recording; tell whether it has in time."""
        deadline = time.monotonic() + RECORDING_TIMEOUT
        while time.monotonic() < deadline:
            seen = Testimony()
            seen.take(self.told_path)
            if seen.newest > self.newest:
                return True
            time.sleep(0.2)
        return False

    def first_recording(self, found: Aftermath) -> float | None:
        """Return how many seconds after the last boot's begin it recorded."""
        if not found.beginnings:
            return None
        last, _ = found.beginnings[max(found.beginnings)]
        # What waited on the disk is stored by the next boot, as well.
        new = [
            at - self.zero
            for number, (boot, at) in found.beginnings.items()
            if number > self.newest and boot == last and at >= self.zero
        ]
        return round(min(new), 1) if new else None

    def cut_later(self, seconds: float) -> None:
        """Cut the power after a while, whatever happens meanwhile."""
        timer = threading.Timer(seconds, self.cut_now)
        timer.daemon = True
        timer.start()

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
        self.kill()
        self.disk.machine_is_dead()
        self.cut_off.set()

    def settle(self, seed: int) -> Loss:
        """Take the machine away after its power was cut; lose what was not flushed."""
        self.collect()
        self.disk.watch = None
        for receiver in self.receivers:
            receiver.when_answered = None
        self.told.take(self.told_path)
        return self.disk.cut(seed)

    def inspect(self) -> Aftermath:
        """Judge what is on the disk, and what arrived."""
        found = inspect(self.disk.image, self.directory, self.told, HOME)
        for receiver in self.receivers:
            arrived = receiver.arrived()
            found.wrong += messages_told_twice(arrived)
            keys = {it.key for it in arrived}
            for key, state in self.told.messages.items():
                message, destination = key.split()
                there = destination != receiver.destination or message in keys
                if state == "sent" and not there:
                    found.wrong.append(f"message {key} is sent, and did not arrive")
        return found

    def wait_for_rest(self) -> None:
        """Wait until what earlier boots left is decided and sent."""
        assert self.sensor is not None
        sensor = self.sensor
        eventually(
            "what earlier boots left is decided",
            lambda: (
                not sensor.count(
                    "recording", f"state = 'undecided' AND number <= {self.newest}"
                )
            ),
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
            return str(error)


def messages_told_twice(arrived: list[Arrival]) -> list[str]:
    """Return what arrived in more than one wording, or under more than one key."""
    wrong = []
    contents: dict[str, set[bytes]] = {}
    keys: dict[str, set[str]] = {}
    for arrival in arrived:
        contents.setdefault(arrival.key, set()).add(arrival.body)
        message = json.loads(arrival.body)
        if "detections" in message:
            keys.setdefault(message["recording"]["id"], set()).add(arrival.key)
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
