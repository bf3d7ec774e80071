"""The disk that loses its cache in a power cut, for machines in containers.

The kernel of this machine has the file system of the disk mounted from a loop device
on a file, which we serve ourselves (FUSE): each write and flush of the file system
passes through here.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import subprocess
import threading
from pathlib import Path

from volatile_disk import FLUSH, READ, WRITE, VolatileDisk

_LARGEST = 1 << 20
_HEADER = struct.Struct("<IIQQIIIHH")
_LOOKS = {3, 4}
"""Asks for the file's attributes, or to change them."""
_NO_ANSWER = {2, 36, 42}
"""Forgets, and interruptions."""
_PLAIN = {18, 25}
"""Closes the file."""


class LoopDisk(VolatileDisk):
    """A disk with a volatile cache, mounted on this machine.

    Parameters
    ----------
    image : Path
        What was flushed; of the size of the disk.
    directory : Path
        Where its file system is mounted, as ``mounted``.
    """

    def __init__(self, image: Path, directory: Path) -> None:
        super().__init__(image, directory / "unused")
        self.mounted = directory / "mounted"
        self.mounted.mkdir(exist_ok=True)
        self._served = directory / "served"
        self._served.touch()
        self._device = -1
        self._killed = threading.Event()

    def power_on(self) -> None:
        """Mount the file system."""
        self._open()
        self._killed.clear()
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        _mount_served(self._device, self._served)
        self._thread = threading.Thread(target=self._serve, name="disk", daemon=True)
        self._thread.start()
        command = ["mount", "-o", "loop,noatime", str(self._served), str(self.mounted)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            self._close()
            raise OSError(f"the disk cannot be mounted: {done.stderr.strip()}")

    def machine_is_dead(self) -> None:
        """Let what the machine had asked for fail, which holds up its processes."""
        self._killed.set()

    def power_off(self) -> None:
        """Unmount after the machine has ended; everything is flushed."""
        if self._device < 0:
            return
        if not self._off:
            subprocess.run(["umount", str(self.mounted)], check=False)
        self.power_off_cache()
        self.freeze()
        self._close()

    def _close(self) -> None:
        self._killed.set()
        for path in (self.mounted, self._served):
            subprocess.run(
                ["umount", "--lazy", str(path)], check=False, capture_output=True
            )
        if self._device >= 0:
            os.close(self._device)
            self._device = -1
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(10)
        self._thread = None
        self._shut()

    def _serve(self) -> None:
        device = self._device
        while True:
            try:
                request = os.read(device, _LARGEST + 8192)
            except OSError as error:
                if error.errno in {errno.EINTR, errno.EAGAIN, errno.ENOENT}:
                    continue
                # Unmounted, or closed.
                return
            with contextlib.suppress(OSError):
                self._reply(device, request)

    def _reply(self, device: int, request: bytes) -> None:
        _, kind, unique, *_ = _HEADER.unpack_from(request)
        if kind in _NO_ANSWER:
            return
        try:
            content = self._answer_to(kind, request[_HEADER.size :])
            code = 0
        except OSError as error:
            content, code = b"", -(error.errno or errno.EIO)
        header = struct.pack("<IiQ", 16 + len(content), code, unique)
        os.write(device, header + content)

    def _answer_to(self, kind: int, body: bytes) -> bytes:
        if kind == 26:
            return _agree(body)
        if kind in _LOOKS:
            return struct.pack("<QII", 3600, 0, 0) + self._attributes()
        if kind == 14:
            return struct.pack("<QIi", 1, 0, 0)
        if kind in _PLAIN:
            return b""
        if kind == 17:
            return struct.pack("<QQQQQIIII", 0, 0, 0, 1, 0, 4096, 255, 4096, 0) + bytes(
                24
            )
        if kind not in {15, 16, 20}:
            raise OSError(errno.ENOSYS, "not needed")
        done: bytes | None
        if kind == 20:
            done = self._perform(FLUSH, 0, b"", 0, force=False)
        else:
            _, offset, length = struct.unpack_from("<QQI", body)
            if kind == 15:
                length = max(0, min(length, self._size - offset))
                done = self._perform(READ, offset, b"", length, force=False)
            else:
                content = body[40 : 40 + length]
                done = self._perform(WRITE, offset, content, length, force=False)
                done = None if done is None else struct.pack("<II", length, 0)
        if done is None:
            # Nobody sees the error: by then the machine's processes are dead.
            self._killed.wait(10)
            raise OSError(errno.EIO, "there is no power")
        return done

    def _attributes(self) -> bytes:
        times = (0, 0, 0)
        return struct.pack(
            "<QQQQQQIIIIIIIIII",
            *(1, self._size, self._size // 512, *times),
            *(*times, 0o100644, 1, 0, 0, 0, 4096, 0),
        )


def _agree(body: bytes) -> bytes:
    major, minor, ahead, offered = struct.unpack_from("<IIII", body)
    # Large writes, and many pages of them at once.
    flags = offered & ((1 << 5) | (1 << 22))
    return struct.pack(
        "<IIIIHHIIHHI28x",
        *(major, min(minor, 31), ahead, flags, 16, 12, _LARGEST, 1),
        *(_LARGEST // 4096, 0, 0),
    )


def _mount_served(device: int, path: Path) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    options = f"fd={device},rootmode=100644,user_id=0,group_id=0"
    if library.mount(b"volatile", bytes(path), b"fuse", 6, options.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"FUSE: {os.strerror(code)}")
