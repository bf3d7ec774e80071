"""WAV files as bytes: the header that is written and the chunks that are read.

Format: RIFF/WAVE with integer PCM, as in Microsoft's "Multimedia Programming Interface
and Data Specifications 1.0"; RF64 (EBU Tech 3306) is read too. The GUANO chunk stands
before the sound, so that a torn file still tells what it is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from acoupi.audio.guano import Guano
from acoupi.errors import AcoupiError

__all__ = ["SoundFileError", "SoundFormat", "WavContent", "build_header", "read_wav"]

PCM = 1
FLOAT = 3
EXTENSIBLE = 0xFFFE
HEADER_ALIGNMENT = 4096
"""Sound begins at a multiple of this, on a page of its own, so that patching the
header touches no page that holds sound."""
SPARE_METADATA = 64
"""Blanks behind metadata, so that a time in them can be corrected in place."""
MAX_METADATA = 1 << 24
"""Bytes; a larger GUANO chunk is not read."""
MAX_CHUNKS = 10_000
"""Chunks looked at before a file is given up as damaged."""
UNKNOWN_SIZE = 0xFFFFFFFF


class SoundFileError(AcoupiError):
    """A sound file cannot be read, written or repaired; the message says why."""


@dataclass(frozen=True)
class SoundFormat:
    """How sound is stored as integer PCM.

    Raises
    ------
    ValueError
        If a value is outside the range given below.
    """

    samplerate: int
    """Frames per second in Hz, [1, 2**32)."""
    channels: int = 1
    """Samples per frame, [1, 65535]."""
    sample_width: int = 2
    """Bytes per sample: 2, 3 or 4, little endian, signed."""

    def __post_init__(self) -> None:
        if not 0 < self.samplerate < 1 << 32:
            raise ValueError(f"samplerate {self.samplerate}: must be within [1, 2³²)")
        if not 0 < self.channels < 1 << 16:
            raise ValueError(f"channels {self.channels}: must be within [1, 65535]")
        if self.sample_width not in {2, 3, 4}:
            raise ValueError(f"sample_width {self.sample_width}: must be 2, 3 or 4")

    @property
    def frame_size(self) -> int:
        """Bytes per frame."""
        return self.channels * self.sample_width


@dataclass(frozen=True)
class WavContent:
    """What the chunks of a WAV file say and where they are."""

    encoding: int
    """1 for integer PCM, 3 for floating point."""
    samplerate: int
    channels: int
    sample_width: int
    """Bytes per sample, [1, 8]."""
    data_offset: int
    """Where the sound begins, in bytes."""
    data_size: int
    """Bytes of sound the header announces."""
    available: int
    """Bytes of sound there are."""
    metadata: Guano | None
    metadata_span: tuple[int, int] | None = None
    """Offset and length in bytes of the GUANO text that counts."""

    @property
    def frame_size(self) -> int:
        """Bytes per frame."""
        return self.channels * self.sample_width

    @property
    def frames(self) -> int:
        """Whole frames that are there."""
        return min(self.data_size, self.available) // self.frame_size

    @property
    def complete(self) -> bool:
        """Whether all the sound that was announced is there."""
        return self.available >= self.data_size


def build_header(
    sound: SoundFormat, frames: int, metadata: Guano, reserve: int = HEADER_ALIGNMENT
) -> bytes:
    """Return everything that stands before the sound, at least ``reserve`` bytes.

    The GUANO chunk is filled up with blanks, as the GUANO specification allows, to
    make the header a multiple of 4096 bytes.

    Raises
    ------
    SoundFileError
        If the file would be larger than the 4 GiB that WAV can describe.
    """
    text = metadata.encode()
    fixed = 12 + 8 + 16 + 8 + 8
    needed = max(reserve, fixed + len(text) + SPARE_METADATA)
    length = -(-needed // HEADER_ALIGNMENT) * HEADER_ALIGNMENT
    size = frames * sound.frame_size
    total = length + size + size % 2
    if total - 8 >= UNKNOWN_SIZE:
        raise SoundFileError(
            f"{frames} frames of {sound.frame_size} bytes do not fit into a WAV file "
            "(4 GiB): make shorter recordings"
        )
    text = text.ljust(length - fixed)
    return (
        struct.pack("<4sI4s", b"RIFF", total - 8, b"WAVE")
        + struct.pack(
            "<4sIHHIIHH",
            b"fmt ",
            16,
            PCM,
            sound.channels,
            sound.samplerate,
            min(sound.samplerate * sound.frame_size, UNKNOWN_SIZE),
            sound.frame_size & 0xFFFF,
            8 * sound.sample_width,
        )
        + struct.pack("<4sI", b"guan", len(text))
        + text
        + struct.pack("<4sI", b"data", size)
    )


def read_wav(file: BinaryIO) -> WavContent:
    """Walk through the chunks of an open WAV file.

    Raises
    ------
    SoundFileError
        If the bytes are not a WAV file or its format cannot be understood.
    """
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(12)
    if len(start) < 12 or start[:4] not in {b"RIFF", b"RF64"} or start[8:] != b"WAVE":
        raise SoundFileError("not a WAV file: it has no RIFF/WAVE header")
    found: dict[bytes, tuple[int, int]] = {}
    for kind, offset, length in _walk(file, size):
        # Sound: the first chunk counts. Metadata: the last one was written last.
        if kind != b"data" or kind not in found:
            found[kind] = (offset, length)
    if b"fmt " not in found:
        raise SoundFileError("the WAV header ends before it says how sound is stored")
    if b"data" not in found:
        raise SoundFileError("the WAV header ends before the sound begins")
    encoding, samplerate, channels, width = _parse_format(
        _read_chunk(file, found[b"fmt "], 64)
    )
    data_offset, data_size = found[b"data"]
    span = found.get(b"guan")
    if span is not None and span[1] > MAX_METADATA:
        span = None
    return WavContent(
        encoding=encoding,
        samplerate=samplerate,
        channels=channels,
        sample_width=width,
        data_offset=data_offset,
        data_size=data_size,
        available=max(0, min(data_size, size - data_offset)),
        metadata=None if span is None else Guano.parse(_read_chunk(file, span)),
        metadata_span=span,
    )


def _walk(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name, and where its content begins and how long it is."""
    offset = 12
    long_data: int | None = None
    for _ in range(MAX_CHUNKS):
        file.seek(offset)
        header = file.read(8)
        if len(header) < 8:
            return
        kind, length = struct.unpack("<4sI", header)
        offset += 8
        if kind == b"ds64":
            long_data = _long_size(file.read(min(length, 28)))
        elif kind == b"data" and length == UNKNOWN_SIZE:
            length = size - offset if long_data is None else long_data
        yield kind, offset, length
        offset += length + length % 2
        if offset >= size:
            return


def _read_chunk(
    file: BinaryIO, span: tuple[int, int], limit: int | None = None
) -> bytes:
    file.seek(span[0])
    return file.read(span[1] if limit is None else min(limit, span[1]))


def _long_size(content: bytes) -> int | None:
    return int(struct.unpack_from("<Q", content, 8)[0]) if len(content) >= 16 else None


def _parse_format(content: bytes) -> tuple[int, int, int, int]:
    if len(content) < 16:
        raise SoundFileError("the WAV header ends before it says how sound is stored")
    encoding, channels, samplerate, _, _, bits = struct.unpack_from("<HHIIHH", content)
    if encoding == EXTENSIBLE and len(content) >= 26:
        (encoding,) = struct.unpack_from("<H", content, 24)
    if encoding not in {PCM, FLOAT}:
        raise SoundFileError(
            f"WAV encoding {encoding} is not supported: use integer or float PCM"
        )
    width = -(-bits // 8)
    if not channels or not samplerate or not 1 <= width <= 8:
        raise SoundFileError(
            f"the WAV header makes no sense: {channels} channels, {samplerate} Hz, "
            f"{bits} bits"
        )
    return encoding, samplerate, channels, width
