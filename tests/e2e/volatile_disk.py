"""A disk that, like a memory card, has a cache that a power cut empties.

It is served to a virtual machine over NBD on a Unix socket. What is written is
acknowledged at once and reaches the image only when the machine flushes. When the
power is cut, some of what was not flushed survives, as real disks have it: nothing,
the beginning, any part in any order, and sometimes half of a block. What survives
is drawn from a seed, so that a cut can be had again.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

BLOCK = 4096
SECTOR = 512

READ, WRITE, _DISCONNECT, FLUSH = 0, 1, 2, 3
_FUA = 1
_FLAGS = 1 | 4 | 8
"""Has flags, takes flushes, takes forced writes."""


@dataclass(frozen=True)
class Request:
    """What the machine asks of the disk."""

    kind: str
    """``write`` or ``flush``."""
    offset: int
    content: bytes
    number: int
    """How many requests of its kind there were, with this one."""


@dataclass(frozen=True)
class Loss:
    """What a power cut did."""

    manner: str
    """Which of what was not flushed survived: ``none``, ``first``, ``some`` or
    ``most``."""
    unflushed: int
    """Blocks that were not flushed."""
    survived: int
    """Of those, blocks that reached the image."""
    torn: int
    """Of those, blocks of which only a part did."""
    writes: int
    flushes: int

    def as_dict(self) -> dict[str, Any]:
        """Return it for a report."""
        return asdict(self)


class VolatileDisk:
    """A disk with a volatile cache.

    Parameters
    ----------
    image : Path
        What was flushed; of the size of the disk.
    socket_path : Path
        Where it is served.
    """

    def __init__(self, image: Path, socket_path: Path) -> None:
        self.image = image
        self.socket_path = socket_path
        self.watch: Callable[[Request], bool] | None = None
        """Asked at each write and flush, before it is done; true cuts the power."""
        self.when_cut: Callable[[], None] | None = None
        """Called once the watch has cut the power."""
        self.flushes = 0
        self.writes = 0
        self._cache: dict[int, bytes] = {}
        self._lock = threading.RLock()
        self._off = True
        self._file = -1
        self._size = 0
        self._listener: socket.socket | None = None
        self._connection: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """What QEMU calls it."""
        return f"nbd+unix:///?socket={self.socket_path}"

    def power_on(self) -> None:
        """Serve the image, to one machine."""
        self._open()
        self.socket_path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket_path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve, name="disk", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        self._file = os.open(self.image, os.O_RDWR | os.O_CLOEXEC)
        self._size = os.fstat(self._file).st_size
        self._cache.clear()
        self.flushes = self.writes = 0
        self._off = False

    def machine_is_dead(self) -> None:
        """Take notice that the machine was killed."""

    def freeze(self) -> None:
        """Do nothing any more that the machine asks for."""
        with self._lock:
            self._off = True

    def cut(self, seed: int) -> Loss:
        """Lose the power; the machine is to be killed before.

        Parameters
        ----------
        seed : int
            Decides what survives of what was not flushed.
        """
        self.freeze()
        choice = random.Random(seed)
        with self._lock:
            blocks = list(self._cache.items())
            manner = choice.choice(["none", "first", "some", "some", "most"])
            if manner == "none":
                chosen = []
            elif manner == "first":
                chosen = blocks[: choice.randint(0, len(blocks))]
            else:
                rate = 0.5 if manner == "some" else 0.9
                chosen = [block for block in blocks if choice.random() < rate]
            torn = 0
            for number, content in chosen:
                part = content
                if choice.random() < 0.1:
                    torn += 1
                    part = content[: SECTOR * choice.randrange(1, BLOCK // SECTOR)]
                os.pwrite(self._file, part, number * BLOCK)
            loss = Loss(
                manner, len(blocks), len(chosen), torn, self.writes, self.flushes
            )
            self._cache.clear()
        self._close()
        return loss

    def power_off(self) -> None:
        """End after the machine has; what was not flushed is flushed."""
        self.power_off_cache()
        self.freeze()
        self._close()

    def _close(self) -> None:
        for end in (self._connection, self._listener):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10)
        self._listener = self._connection = self._thread = None
        self._shut()
        self.socket_path.unlink(missing_ok=True)

    def _shut(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _serve(self) -> None:
        assert self._listener is not None
        try:
            self._connection, _ = self._listener.accept()
            _negotiate(self._connection, self._size)
            while self._answer(self._connection):
                pass
        except (OSError, EOFError):
            # The machine is gone, or the disk.
            return
        finally:
            if self._connection is not None:
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, connection: socket.socket) -> bool:
        header = _receive(connection, 28)
        _, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", header)
        content = _receive(connection, length) if kind == WRITE else b""
        if kind == _DISCONNECT:
            self.power_off_cache()
            return False
        answer = self._perform(kind, offset, content, length, force=bool(flags & _FUA))
        if answer is None:
            return False
        error = 0 if kind in {READ, WRITE, FLUSH} else 22
        connection.sendall(struct.pack(">IIQ", 0x67446698, error, handle) + answer)
        return True

    def power_off_cache(self) -> None:
        """Flush, as when the machine ends in order."""
        with self._lock:
            if not self._off:
                self._flush()

    def _perform(
        self, kind: int, offset: int, content: bytes, length: int, *, force: bool
    ) -> bytes | None:
        """Do what the machine asks for; None when there is no power."""
        with self._lock:
            if self._off or self._is_cut(kind, offset, content):
                return None
            if kind == READ:
                return self._read(offset, length)
            if kind == WRITE:
                self._write(offset, content)
            if kind == FLUSH or (kind == WRITE and force):
                self._flush()
            return b""

    def _is_cut(self, kind: int, offset: int, content: bytes) -> bool:
        if self.watch is None or kind not in {WRITE, FLUSH}:
            return False
        name, number = (
            ("write", self.writes)
            if kind == WRITE
            else (
                "flush",
                self.flushes,
            )
        )
        if not self.watch(Request(name, offset, content, number + 1)):
            return False
        if kind == WRITE:
            # It was on its way: it may survive, or a part of it.
            self._write(offset, content)
        self._off = True
        self.watch = None
        if self.when_cut is not None:
            self.when_cut()
        return True

    def _read(self, offset: int, length: int) -> bytes:
        found = bytearray(os.pread(self._file, length, offset).ljust(length, b"\0"))
        if not length:
            return b""
        for number in range(offset // BLOCK, (offset + length - 1) // BLOCK + 1):
            cached = self._cache.get(number)
            if cached is not None:
                start = max(offset, number * BLOCK)
                end = min(offset + length, (number + 1) * BLOCK)
                first = start - number * BLOCK
                found[start - offset : end - offset] = cached[
                    first : first + end - start
                ]
        return bytes(found)

    def _write(self, offset: int, content: bytes) -> None:
        self.writes += 1
        done = 0
        while done < len(content):
            number, first = divmod(offset + done, BLOCK)
            length = min(BLOCK - first, len(content) - done)
            piece = content[done : done + length]
            if length < BLOCK:
                whole = bytearray(self._read(number * BLOCK, BLOCK))
                whole[first : first + length] = piece
                piece = bytes(whole)
            # Behind what was written earlier: the order is that of the last writes.
            self._cache.pop(number, None)
            self._cache[number] = piece
            done += length

    def _flush(self) -> None:
        self.flushes += 1
        for number, content in self._cache.items():
            os.pwrite(self._file, content, number * BLOCK)
        self._cache.clear()


def _receive(connection: socket.socket, length: int) -> bytes:
    received = bytearray()
    while len(received) < length:
        part = connection.recv(min(length - len(received), 1 << 20))
        if not part:
            raise EOFError
        received += part
    return bytes(received)


def _negotiate(connection: socket.socket, size: int) -> None:
    """Agree on the export (fixed new-style handshake of NBD)."""
    connection.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
    _receive(connection, 4)
    while True:
        _, option, length = struct.unpack(">8sII", _receive(connection, 16))
        _receive(connection, length)

        def reply(kind: int, content: bytes = b"", option: int = option) -> None:
            connection.sendall(
                struct.pack(">QIII", 0x3E889045565A9, option, kind, len(content))
                + content
            )

        if option == 1:
            connection.sendall(struct.pack(">QH", size, _FLAGS) + bytes(124))
            return
        if option in {6, 7}:
            reply(3, struct.pack(">HQH", 0, size, _FLAGS))
            reply(1)
            if option == 7:
                return
        else:
            reply(0x80000001)
