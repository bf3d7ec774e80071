"""FLAC files: compressed without loss, with the GUANO metadata as a comment.

Format: RFC 9639. Metadata are read here without any library; sound is compressed by
libsndfile. The GUANO text is the value of the Vorbis comment ``COMMENT``.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from acoupi.audio.durability import publish, temporary_beside
from acoupi.audio.guano import Guano
from acoupi.audio.wav import (
    HEADER_ALIGNMENT,
    MAX_METADATA,
    SPARE_METADATA,
    SoundFileError,
    read_wav,
)

__all__ = ["FlacContent", "encode_flac", "read_flac", "replace_comment"]

STREAMINFO = 0
VORBIS_COMMENT = 4
COMMENT_KEYS = ("guano", "comment", "description")
BLOCK_FRAMES = 1 << 16
SUBTYPES = {2: ("PCM_16", "int16"), 3: ("PCM_24", "int32")}
"""libsndfile's name and the type samples are passed in, by bytes per sample."""
MAX_CHANNELS = 8
MAX_SAMPLERATE = 655_350


@dataclass(frozen=True)
class FlacContent:
    """What the metadata blocks of a FLAC file say."""

    samplerate: int
    channels: int
    sample_width: int
    """Bytes per sample."""
    frames: int
    """0 when the encoder was interrupted."""
    metadata: Guano | None


def read_flac(file: BinaryIO) -> FlacContent:
    """Read the metadata blocks at the start of an open FLAC file.

    Raises
    ------
    SoundFileError
        If the bytes are not a FLAC file or the blocks end too early.
    """
    file.seek(0)
    if file.read(4) != b"fLaC":
        raise SoundFileError("not a FLAC file: it does not begin with 'fLaC'")
    stream: bytes | None = None
    metadata: Guano | None = None
    last = False
    while not last:
        header = file.read(4)
        if len(header) < 4:
            break
        last, kind = bool(header[0] & 0x80), header[0] & 0x7F
        length = int.from_bytes(header[1:], "big")
        if kind == STREAMINFO and length >= 18:
            stream = file.read(length)
        elif kind == VORBIS_COMMENT and length <= MAX_METADATA:
            metadata = _parse_comments(file.read(length))
        else:
            file.seek(length, 1)
    if stream is None or len(stream) < 18:
        raise SoundFileError("the FLAC file ends before it says how sound is stored")
    packed = int.from_bytes(stream[10:18], "big")
    samplerate = packed >> 44
    if samplerate == 0:
        raise SoundFileError("the FLAC file does not tell its samplerate")
    return FlacContent(
        samplerate=samplerate,
        channels=(packed >> 41 & 7) + 1,
        sample_width=-(-((packed >> 36 & 31) + 1) // 8),
        frames=packed & ((1 << 36) - 1),
        metadata=metadata,
    )


def encode_flac(source: Path, target: Path, compression: float = 0.4) -> Path:
    """Compress a WAV file to FLAC without loss, durably, and return ``target``.

    The GUANO metadata go along. ``target`` is complete or absent, whatever happens;
    the source stays where it is.

    Parameters
    ----------
    source
        Whole WAV file of 16 or 24-bit integers.
    target
        Replaced when it exists; its directory is made.
    compression
        From 0, fastest, to 1, smallest.

    Raises
    ------
    SoundFileError
        If the source cannot be read or FLAC cannot hold it.
    OSError
        If the disk refuses.
    """
    import soundfile

    with source.open("rb") as file:
        content = read_wav(file)
    subtype = SUBTYPES.get(content.sample_width)
    if (
        content.encoding != 1
        or subtype is None
        or content.channels > MAX_CHANNELS
        or content.samplerate > MAX_SAMPLERATE
    ):
        raise SoundFileError(
            f"{source}: FLAC here holds 16 or 24-bit integers, up to {MAX_CHANNELS} "
            f"channels and {MAX_SAMPLERATE} Hz, not {8 * content.sample_width} bits, "
            f"{content.channels} channels, {content.samplerate} Hz: keep it as WAV"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(target)
    try:
        with (
            soundfile.SoundFile(source) as reader,
            soundfile.SoundFile(
                temporary,
                "w",
                samplerate=content.samplerate,
                channels=content.channels,
                format="FLAC",
                subtype=subtype[0],
                compression_level=compression,
            ) as writer,
        ):
            if content.metadata is not None:
                writer.comment = content.metadata.format() + SPARE_METADATA * " "
            _copy_sound(reader, writer, subtype[1])
        _check_length(temporary, content.frames)
        publish(temporary, target)
    except soundfile.SoundFileError as error:
        temporary.unlink(missing_ok=True)
        raise SoundFileError(f"{source}: cannot be compressed: {error}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def replace_comment(path: Path, metadata: Guano) -> None:
    """Write other metadata into a FLAC file that has some, durably.

    In place where the new fit into the old and both into one page of the disk; else
    into a copy that replaces the file.

    Raises
    ------
    SoundFileError
        If it is not a FLAC file or has no GUANO metadata.
    OSError
        If the disk refuses; the file is as it was.
    """
    with path.open("r+b") as file:
        place, former = _find_comments(file)
        content = _replace_guano(former, metadata, len(former))
        if len(content) == len(former) and place + len(former) <= HEADER_ALIGNMENT:
            file.seek(place)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            return
    content = _replace_guano(former, metadata, len(content) + SPARE_METADATA)
    if len(content) > MAX_METADATA - 1:
        raise SoundFileError(f"{path}: {len(content)} bytes of metadata are too many")
    temporary = temporary_beside(path)
    try:
        with path.open("rb") as reader, temporary.open("xb") as writer:
            writer.write(reader.read(place - 3))
            writer.write(len(content).to_bytes(3, "big") + content)
            reader.seek(place + len(former))
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _find_comments(file: BinaryIO) -> tuple[int, bytes]:
    """Return where the block of comments begins behind its header, and its bytes."""
    file.seek(0)
    if file.read(4) != b"fLaC":
        raise SoundFileError("not a FLAC file: it does not begin with 'fLaC'")
    while len(header := file.read(4)) == 4:
        length = int.from_bytes(header[1:], "big")
        if header[0] & 0x7F == VORBIS_COMMENT:
            place, block = file.tell(), file.read(length)
            if len(block) == length:
                return place, block
            break
        if header[0] & 0x80:
            break
        file.seek(length, 1)
    raise SoundFileError("the FLAC file has no metadata that could be replaced")


def _replace_guano(block: bytes, metadata: Guano, size: int) -> bytes:
    """Return a block of comments with other metadata in it, filled up to ``size``."""
    start = 4 + int.from_bytes(block[:4], "little") + 4
    place = start
    while place + 4 <= len(block):
        length = int.from_bytes(block[place : place + 4], "little")
        comment = block[place + 4 : place + 4 + length]
        key, mark, value = comment.partition(b"=")
        known = key.decode("ascii", "replace").lower() in COMMENT_KEYS
        if known and b"GUANO|Version" in value:
            text = key + mark + metadata.encode()
            rest = block[place + 4 + length :]
            text = text.ljust(size - place - 4 - len(rest))
            return block[:place] + len(text).to_bytes(4, "little") + text + rest
        place += 4 + length
    raise SoundFileError("the FLAC file has no metadata that could be replaced")


def _copy_sound(reader: Any, writer: Any, dtype: str) -> None:
    while True:
        block = reader.buffer_read(BLOCK_FRAMES, dtype=dtype)
        if not len(block):
            return
        writer.buffer_write(block, dtype=dtype)


def _check_length(path: Path, frames: int) -> None:
    # libsndfile does not report every failed write; a short file must not replace
    # the sound it was made from.
    with path.open("rb") as file:
        os.fsync(file.fileno())
        written = read_flac(file).frames
    if written != frames:
        raise SoundFileError(
            f"{path.name}: {written} of {frames} frames were compressed: "
            "is the disk full?"
        )


def _parse_comments(block: bytes) -> Guano | None:
    position = 4 + int.from_bytes(block[:4], "little")
    count = int.from_bytes(block[position : position + 4], "little")
    position += 4
    comments: dict[str, str] = {}
    for _ in range(count):
        if position + 4 > len(block):
            break
        length = int.from_bytes(block[position : position + 4], "little")
        comment = block[position + 4 : position + 4 + length]
        position += 4 + length
        key, _, value = comment.decode("utf-8", "replace").partition("=")
        comments[key.lower()] = value
    for key in COMMENT_KEYS:
        if "GUANO|Version" in comments.get(key, ""):
            return Guano.parse(comments[key])
    return None
