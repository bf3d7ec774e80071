"""Sound files: written complete or not at all, read, repaired, compressed.

What a program needs of sound files is here by name. Describing and repairing a file
takes neither numpy nor libsndfile.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from acoupi.audio.durability import PART_SUFFIX, copy_durably, fsync_directory
from acoupi.audio.flac import encode_flac, read_flac, replace_comment
from acoupi.audio.guano import Guano
from acoupi.audio.repair import RepairOutcome, repair
from acoupi.audio.wav import SoundFileError, SoundFormat, read_wav
from acoupi.audio.wavwriter import WavWriter, replace_chunk

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from soundfile import SoundFile

    from acoupi import data

__all__ = [
    "PART_SUFFIX",
    "SOUND_SUFFIXES",
    "Guano",
    "RepairOutcome",
    "SoundFileError",
    "SoundFileInfo",
    "SoundFormat",
    "WavWriter",
    "copy_durably",
    "encode_flac",
    "fsync_directory",
    "read_blocks",
    "read_info",
    "read_recording",
    "read_samples",
    "repair",
    "replace_metadata",
]

SOUND_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".caf"})
"""Endings, in lower case, of files that can be read."""
MOST_SAMPLES_PER_BYTE = 16
"""What a header may promise before the sound is read piece by piece: only that of
silence is so small."""

BLOCK = 1 << 20
"""Frames of a piece."""

NAME_TIME = re.compile(r"(?<!\d)(\d{8})[_T-]?(\d{6})(?!\d)")
"""Date and time as most recorders put them into names: 20240516_063000."""


@dataclass(frozen=True)
class SoundFileInfo:
    """What a sound file holds."""

    samplerate: int
    """Frames per second, in Hz."""
    channels: int
    frames: int
    """Frames that are there."""
    sample_width: int
    """Bytes per sample; 0 for formats that do not store samples as such."""
    metadata: Guano | None
    complete: bool
    """Whether all the sound that the header announces is there."""

    @property
    def duration(self) -> float:
        """Seconds of sound in the file."""
        return self.frames / self.samplerate


def read_info(path: Path) -> SoundFileInfo:
    """Describe a sound file; WAV and FLAC without loading any library.

    Raises
    ------
    SoundFileError
        If it is not a sound file, or damaged beyond use.
    OSError
        If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
            if start in {b"RIFF", b"RF64"}:
                wav = read_wav(file)
                return SoundFileInfo(
                    wav.samplerate,
                    wav.channels,
                    wav.frames,
                    wav.sample_width,
                    wav.metadata,
                    wav.complete,
                )
            if start == b"fLaC":
                flac = read_flac(file)
                return SoundFileInfo(
                    flac.samplerate,
                    flac.channels,
                    flac.frames,
                    flac.sample_width,
                    flac.metadata,
                    flac.frames > 0,
                )
    except SoundFileError as error:
        raise SoundFileError(f"{path}: {error}") from error
    return _read_other_info(path)


def read_recording(
    path: Path, deployment: data.Deployment | None = None
) -> data.Recording:
    """Rebuild the recording that a sound file holds.

    Parameters
    ----------
    path
        A sound file, of acoupi or of anything else.
    deployment
        Taken when the file's metadata name none.

    Returns
    -------
    data.Recording
        The time is that of the metadata, else the one in the file's name (as
        ``20240516_063000``, taken as UTC), else the file's age.

    Raises
    ------
    SoundFileError
        If it is not a sound file or holds no sound.
    OSError
        If it cannot be read.
    """
    info = read_info(path)
    if info.frames == 0:
        raise SoundFileError(f"{path}: it holds no sound")
    metadata = Guano() if info.metadata is None else info.metadata
    return metadata.to_recording(
        path=path,
        frames=info.frames,
        samplerate=info.samplerate,
        channels=info.channels,
        deployment=deployment,
        created_on=_time_in_name(path.stem) or _time_of_file(path, info.duration),
    )


def replace_metadata(path: Path, metadata: Guano) -> None:
    """Write other metadata into a WAV or FLAC file that has some, durably.

    The sound is not touched, and no library is loaded.

    Raises
    ------
    SoundFileError
        If it is another kind of file or has no place for that much metadata.
    OSError
        If the disk refuses.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"fLaC":
        replace_comment(path, metadata)
    else:
        replace_chunk(path, metadata)


def read_samples(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read all sound of a file.

    Returns
    -------
    samples
        Within [-1, 1], shape (frames, channels).
    samplerate
        Frames per second, in Hz.

    Raises
    ------
    SoundFileError
        If it cannot be decoded.
    OSError
        If it cannot be read.
    """
    import soundfile

    _check_readable(path)
    size = path.stat().st_size
    try:
        with soundfile.SoundFile(path) as file:
            samplerate = file.samplerate
            if file.frames * file.channels <= MOST_SAMPLES_PER_BYTE * size:
                samples = file.read(dtype="float32", always_2d=True)
            else:
                samples = _read_what_is_there(file)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise SoundFileError(f"{path}: cannot be read as sound: {error}") from error
    return samples, int(samplerate)


def _read_what_is_there(file: SoundFile) -> NDArray[np.float32]:
    # A damaged header may promise more than any memory holds.
    import numpy as np

    blocks = [file.read(BLOCK, dtype="float32", always_2d=True)]
    while len(blocks[-1]):
        blocks.append(file.read(BLOCK, dtype="float32", always_2d=True))
    joined: NDArray[np.float32] = np.concatenate(blocks)
    return joined


def read_blocks(path: Path, frames: int) -> Iterator[NDArray[np.float32]]:
    """Read a sound file piece by piece, in bounded memory.

    Parameters
    ----------
    path
        The sound file.
    frames
        Frames per piece; the last may have fewer.

    Yields
    ------
    numpy.ndarray
        Samples within [-1, 1], shape (frames, channels).

    Raises
    ------
    SoundFileError
        If it cannot be decoded.
    OSError
        If it cannot be read.
    """
    import soundfile

    _check_readable(path)
    try:
        with soundfile.SoundFile(path) as file:
            while True:
                block = file.read(frames, dtype="float32", always_2d=True)
                if not len(block):
                    return
                yield block
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise SoundFileError(f"{path}: cannot be read as sound: {error}") from error


def _check_readable(path: Path) -> None:
    # The system's own message tells a missing file from a damaged one.
    with path.open("rb"):
        pass


def _read_other_info(path: Path) -> SoundFileInfo:
    import soundfile

    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise SoundFileError(f"{path}: cannot be read as sound: {error}") from error
    if info.samplerate < 1 or info.channels < 1:
        raise SoundFileError(f"{path}: its header makes no sense")
    return SoundFileInfo(
        int(info.samplerate), int(info.channels), int(info.frames), 0, None, True
    )


def _time_in_name(name: str) -> datetime.datetime | None:
    found = NAME_TIME.search(name)
    if found is None:
        return None
    try:
        time = datetime.datetime.strptime("".join(found.groups()), "%Y%m%d%H%M%S")  # noqa: DTZ007 - the zone is not in the name; UTC is what is documented
    except ValueError:
        return None
    return time.replace(tzinfo=datetime.UTC)


def _time_of_file(path: Path, duration: float) -> datetime.datetime:
    ended = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    try:
        return ended - datetime.timedelta(seconds=duration)
    except OverflowError:
        return ended
