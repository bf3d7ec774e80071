"""The disk that power cuts are tried on loses what it should, and nothing else."""

from __future__ import annotations

import socket
import struct
import tempfile
from pathlib import Path

import pytest
from volatile_disk import BLOCK, VolatileDisk

BLOCKS = 64
OLD, NEW = b"o" * BLOCK, b"n" * BLOCK


class Client:
    """What QEMU is to the disk."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(path))
        self._take(18)
        self._socket.sendall(
            struct.pack(">I", 1) + b"IHAVEOPT" + struct.pack(">II", 1, 0)
        )
        self.size, _ = struct.unpack(">QH", self._take(10))
        self._take(124)

    def write(self, offset: int, content: bytes, *, force: bool = False) -> None:
        self._ask(1, offset, len(content), content, int(force))

    def read(self, offset: int, length: int) -> bytes:
        self._ask(0, offset, length)
        return self._take(length)

    def flush(self) -> None:
        self._ask(3, 0, 0)

    def close(self) -> None:
        self._socket.close()

    def _ask(
        self, kind: int, offset: int, length: int, content: bytes = b"", flags: int = 0
    ) -> None:
        header = struct.pack(">IHHQQI", 0x25609513, flags, kind, 7, offset, length)
        self._socket.sendall(header + content)
        assert struct.unpack(">IIQ", self._take(16)) == (0x67446698, 0, 7)

    def _take(self, length: int) -> bytes:
        taken = b""
        while len(taken) < length:
            part = self._socket.recv(length - len(taken))
            if not part:
                raise EOFError
            taken += part
        return taken


@pytest.fixture
def disk():
    # A socket's path is to be short.
    with tempfile.TemporaryDirectory(prefix="disk-") as name:
        image = Path(name) / "image"
        image.write_bytes(OLD * BLOCKS)
        disk = VolatileDisk(image, Path(name) / "nbd")
        disk.power_on()
        yield disk
        disk.power_off()


@pytest.fixture
def client(disk):
    client = Client(disk.socket_path)
    yield client
    client.close()


def test_what_was_flushed_survives_every_cut(disk, client):
    client.write(0, NEW * 8)
    client.flush()
    client.write(16 * BLOCK, NEW * 8)
    disk.cut(seed=1)
    assert disk.image.read_bytes()[: 8 * BLOCK] == NEW * 8


def test_a_forced_write_survives(disk, client):
    client.write(3 * BLOCK, NEW, force=True)
    loss = disk.cut(seed=1)
    assert loss.unflushed == 0
    assert disk.image.read_bytes()[3 * BLOCK : 4 * BLOCK] == NEW


def test_the_machine_reads_what_it_wrote_before_it_is_flushed(disk, client):
    client.write(BLOCK + 100, b"abc")
    assert client.read(BLOCK + 98, 7) == b"ooabcoo"
    assert disk.image.read_bytes() == OLD * BLOCKS
    client.flush()
    assert disk.image.read_bytes()[BLOCK + 98 : BLOCK + 105] == b"ooabcoo"


def test_cuts_lose_drop_reorder_and_tear_what_was_not_flushed(disk):
    manners, torn, holes = set(), 0, 0
    for seed in range(40):
        disk.image.write_bytes(OLD * BLOCKS)
        if seed:
            disk.power_on()
        client = Client(disk.socket_path)
        for number in range(BLOCKS):
            client.write(number * BLOCK, NEW)
        loss = disk.cut(seed)
        client.close()
        content = disk.image.read_bytes()
        survived = [
            content[at : at + BLOCK] == NEW for at in range(0, len(content), BLOCK)
        ]
        assert loss.unflushed == BLOCKS
        assert sum(survived) == loss.survived - loss.torn
        manners.add(loss.manner)
        torn += loss.torn
        # Something is gone that was written before what is there.
        holes += survived != sorted(survived, reverse=True)
    assert manners == {"none", "first", "some", "most"}
    assert torn > 0
    assert holes > 0


def test_a_cut_can_be_had_again(disk, client):
    contents = []
    for _ in range(2):
        disk.cut(seed=0)
        disk.image.write_bytes(OLD * BLOCKS)
        disk.power_on()
        again = Client(disk.socket_path)
        again.write(0, NEW * BLOCKS)
        disk.cut(seed=5)
        again.close()
        contents.append(disk.image.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("kind", ["write", "flush"])
def test_the_power_goes_at_the_request_that_is_watched_for(disk, client, kind):
    told = []
    disk.when_cut = lambda: told.append(True)
    client.write(0, NEW)
    disk.watch = lambda request: request.kind == kind

    def go_on() -> None:
        client.write(BLOCK, NEW)
        client.flush()

    with pytest.raises((EOFError, OSError)):
        go_on()
    assert told == [True]
    # Neither is it flushed, nor does anything follow.
    assert disk.image.read_bytes() == OLD * BLOCKS
    assert disk.cut(seed=1).unflushed == 2


def test_a_machine_that_ends_in_order_loses_nothing(disk, client):
    client.write(0, NEW)
    client.close()
    disk.power_off()
    assert disk.image.read_bytes()[:BLOCK] == NEW
    assert disk.image.stat().st_size == BLOCKS * BLOCK
