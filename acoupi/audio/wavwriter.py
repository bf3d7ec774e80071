"""Writing a WAV file so that it is complete or absent under its final name."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from pathlib import Path
from typing import IO, Self

from acoupi.audio.durability import PART_SUFFIX, publish
from acoupi.audio.guano import Guano
from acoupi.audio.wav import (
    SPARE_METADATA,
    SoundFileError,
    SoundFormat,
    build_header,
    read_wav,
)

__all__ = ["WavWriter", "replace_chunk"]

SYNC_INTERVAL = 5.0
"""Seconds of sound after which what was written is flushed to the disk."""


class WavWriter:
    """Writes one WAV file under ``<path>.part`` and renames it when it is finished.

    The header, with the metadata, is written first and announces the planned size;
    a file torn at any point can therefore be repaired (`acoupi.audio.repair`). Every
    five seconds of sound are flushed to the disk by a thread of their own, so that a
    power cut costs no more than that and the caller does not wait for it.

    Parameters
    ----------
    path
        Final name; its directory is made.
    sound
        How samples are stored.
    frames
        How many frames are planned, at least 1; more are refused, fewer are fine.
    metadata
        What is known now; `finish` may replace it.

    Raises
    ------
    SoundFileError
        If that many frames do not fit into a WAV file (4 GiB).
    OSError
        If the file cannot be made.
    """

    def __init__(
        self, path: Path, sound: SoundFormat, frames: int, metadata: Guano
    ) -> None:
        if frames < 1:
            raise ValueError(f"frames is {frames}: must be at least 1")
        self.path = path
        self.part = path.with_name(path.name + PART_SUFFIX)
        self.sound = sound
        self.planned = frames
        self.metadata = metadata
        header = build_header(sound, frames, metadata)
        self._header_size = len(header)
        self._written = 0
        self._unsynced = 0
        self._sync: threading.Thread | None = None
        self._failure: OSError | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = self.part.open("wb", buffering=0)
        # Tells the keeping task that somebody still writes here; ends with the process.
        # Without it (some network disks), that task waits for the file to rest.
        with contextlib.suppress(OSError):
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            self._write_all(header)
        except BaseException:
            self.abandon()
            raise

    @property
    def frames(self) -> int:
        """Whole frames written until now."""
        return self._written // self.sound.frame_size

    def write(self, samples: bytes | bytearray | memoryview) -> None:
        """Append samples: interleaved, little endian, signed.

        Raises
        ------
        ValueError
            If it would be more than was planned.
        OSError
            If the disk refuses, now or in an earlier flush.
        """
        if self._failure is not None:
            raise self._failure
        view = memoryview(samples).cast("B")
        if self._written + len(view) > self.planned * self.sound.frame_size:
            raise ValueError(
                f"{self.path.name}: more than the {self.planned} frames planned"
            )
        self._write_all(view)
        self._written += len(view)
        self._unsynced += len(view)
        if self._unsynced >= SYNC_INTERVAL * self.sound.samplerate * (
            self.sound.frame_size
        ):
            self._start_sync()

    def finish(self, metadata: Guano | None = None) -> Path:
        """Complete the header, flush everything and give the file its final name.

        Parameters
        ----------
        metadata
            Replaces the metadata given at first.

        Returns
        -------
        Path
            The final name. After a power cut from here on, the file is there, whole.

        Raises
        ------
        SoundFileError, OSError
            If it cannot be done; what was written stays, as ``.part`` for repair or,
            when only the last flush failed, under its final name.
        """
        self._join_sync()
        if self._failure is not None:
            self.close()
            raise self._failure
        try:
            self._complete(self.metadata if metadata is None else metadata)
            os.fsync(self._file.fileno())
        finally:
            self.close()
        publish(self.part, self.path)
        return self.path

    def abandon(self) -> None:
        """Delete what was written. Does nothing after `finish`."""
        if not self._file.closed:
            self.close()
            self.part.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file and leave the ``.part`` as it is, for repair."""
        self._join_sync()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abandon()

    def _complete(self, metadata: Guano) -> None:
        size = self.frames * self.sound.frame_size
        self._file.truncate(self._header_size + size)
        if size % 2:
            self._file.seek(self._header_size + size)
            self._write_all(b"\0")
        header = build_header(self.sound, self.frames, metadata, self._header_size)
        if len(header) > self._header_size:
            header = self._append_metadata(metadata)
        self._rewrite_header(header)

    def _append_metadata(self, metadata: Guano) -> bytes:
        # Metadata that outgrew their place go behind the sound. Each step is flushed
        # before the next, so that a file torn here still has the one or the other.
        self._rewrite_header(
            build_header(self.sound, self.frames, self.metadata, self._header_size)
        )
        os.fsync(self._file.fileno())
        text = metadata.encode()
        text = text.ljust(len(text) + len(text) % 2 + SPARE_METADATA)
        chunk = b"guan" + len(text).to_bytes(4, "little") + text
        self._file.seek(0, os.SEEK_END)
        self._write_all(chunk)
        os.fsync(self._file.fileno())
        header = bytearray(
            build_header(self.sound, self.frames, Guano(), self._header_size)
        )
        place = header.index(b"guan")
        header[place : place + 4] = b"JUNK"
        total = int.from_bytes(header[4:8], "little") + len(chunk)
        header[4:8] = total.to_bytes(4, "little")
        return bytes(header)

    def _rewrite_header(self, header: bytes) -> None:
        self._file.seek(0)
        self._write_all(header)

    def _write_all(self, content: bytes | memoryview) -> None:
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) or 0 :]

    def _start_sync(self) -> None:
        if self._sync is not None and self._sync.is_alive():
            return
        self._unsynced = 0
        self._sync = threading.Thread(target=self._flush, name="wav-flush", daemon=True)
        self._sync.start()

    def _flush(self) -> None:
        try:
            os.fdatasync(self._file.fileno())
        except OSError as error:
            # An I/O error is reported to one caller only: keep it for `finish`.
            self._failure = error

    def _join_sync(self) -> None:
        if self._sync is not None:
            self._sync.join()
            self._sync = None


def replace_chunk(path: Path, metadata: Guano) -> None:
    """Write other metadata into a WAV file, in place and durably.

    The metadata's place is a page of its own and keeps its size, so that the sound is
    not touched.

    Raises
    ------
    SoundFileError
        If it is not a WAV file or has no place for that much metadata.
    OSError
        If the disk refuses.
    """
    text = metadata.encode()
    with path.open("r+b") as file:
        span = read_wav(file).metadata_span
        if span is None or len(text) > span[1]:
            place = 0 if span is None else span[1]
            raise SoundFileError(
                f"{path}: {len(text)} bytes of metadata do not fit into {place}"
            )
        file.seek(span[0])
        file.write(text.ljust(span[1]))
        file.flush()
        os.fsync(file.fileno())
