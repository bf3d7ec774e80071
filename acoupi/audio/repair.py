"""What a power cut left behind, made whole again or refused with a reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from acoupi.audio.durability import PART_SUFFIX, publish
from acoupi.audio.wav import (
    UNKNOWN_SIZE,
    SoundFileError,
    WavContent,
    read_wav,
)

__all__ = ["RepairOutcome", "repair"]


@dataclass(frozen=True)
class RepairOutcome:
    """How a repair ended."""

    path: Path
    """The whole file, or the damaged one when it could not be repaired."""
    repaired: bool
    """Whether ``path`` is a whole sound file now."""
    reason: str
    """What was wrong, for people."""
    frames: int = 0
    """Frames of sound in the repaired file."""
    frames_missing: int = 0
    """Frames that were planned and are not there."""


def repair(path: Path) -> RepairOutcome:
    """Cut a torn WAV file to the sound that is there and give it its final name.

    Works on ``<name>.part`` files of `WavWriter` and, in place, on WAV files that are
    shorter than their header says. The metadata's ``Length`` is corrected. A file that
    cannot be repaired is left exactly as it is.

    Parameters
    ----------
    path
        The file to repair.

    Returns
    -------
    RepairOutcome
        Never raises for damaged content; whole files come back unchanged.

    Raises
    ------
    OSError
        If the disk refuses to read or write.
    """
    final = path
    if path.name.endswith(PART_SUFFIX):
        final = path.with_name(path.name.removesuffix(PART_SUFFIX))
        if final.exists():
            return RepairOutcome(path, repaired=False, reason=f"{final} exists already")
    try:
        with path.open("rb") as file:
            content = read_wav(file)
    except SoundFileError as error:
        return RepairOutcome(path, repaired=False, reason=str(error))
    frames = content.frames
    if frames == 0:
        return RepairOutcome(path, repaired=False, reason="it holds no sound")
    missing = content.data_size // content.frame_size - frames
    if final == path and content.complete:
        return RepairOutcome(path, repaired=True, reason="whole already", frames=frames)
    if content.data_offset + content.data_size >= UNKNOWN_SIZE:
        return RepairOutcome(path, repaired=False, reason="RF64 is not repaired")
    _cut(path, content)
    if final != path:
        publish(path, final)
    return RepairOutcome(
        final,
        repaired=True,
        reason=f"cut to the {frames} frames that are there, {missing} are missing",
        frames=frames,
        frames_missing=missing,
    )


def _cut(path: Path, content: WavContent) -> None:
    size = content.frames * content.frame_size
    with path.open("r+b") as file:
        if not content.complete:
            file.truncate(content.data_offset + size)
        if file.seek(0, os.SEEK_END) == content.data_offset + size:
            file.write(b"\0" * (size % 2))
        total = file.seek(0, os.SEEK_END)
        file.seek(4)
        file.write((total - 8).to_bytes(4, "little"))
        file.seek(content.data_offset - 4)
        file.write(size.to_bytes(4, "little"))
        _correct_length(file, content)
        file.flush()
        os.fsync(file.fileno())


def _correct_length(file: IO[bytes], content: WavContent) -> None:
    if content.metadata is None or content.metadata_span is None:
        return
    expansion = content.metadata.time_expansion
    seconds = content.frames / content.samplerate / expansion
    content.metadata["Length"] = str(seconds)
    text = content.metadata.encode()
    offset, length = content.metadata_span
    # Metadata that fill their place to the last byte keep the planned length.
    if len(text) <= length:
        file.seek(offset)
        file.write(text.ljust(length))
