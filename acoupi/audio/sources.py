"""What sound comes from: a microphone, or something that stands for one.

Every source behaves alike: `Source.open` finds it and tells its format, and
`SourceStream.start` makes it deliver blocks of frames to a sink from a thread of its
own until it is closed.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from array import array
from typing import TYPE_CHECKING, Protocol

from acoupi.errors import AcoupiError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Buffer

    from acoupi.audio.wav import SoundFormat

__all__ = [
    "SOUND_FILE_SUFFIXES",
    "FileSource",
    "PacedStream",
    "Sink",
    "Source",
    "SourceError",
    "SourceStream",
]

logger = logging.getLogger(__name__)

SOUND_FILE_SUFFIXES = (".wav", ".flac", ".ogg", ".aif", ".aiff", ".mp3", ".w64")
"""Endings of the files that are looked for in a folder."""

BLOCK_SECONDS = 0.05
"""Length of the blocks that sources other than microphones deliver."""


class SourceError(AcoupiError):
    """A source cannot be opened now; it may be possible later."""


class Sink(Protocol):
    """Where a stream puts its frames."""

    @property
    def free(self) -> int:
        """Frames that fit now."""

    def deliver(
        self,
        block: Buffer,
        frames: int,
        now: float,
        delay: float | None,
        overflow: bool,
    ) -> None:
        """Take over a block that arrived at monotonic time ``now``."""


class SourceStream(ABC):
    """An opened source."""

    format: SoundFormat
    """How its samples are stored."""
    identity: str
    """Names the device or file in a way that stays the same."""
    clock_tolerance: float | None
    """Seconds it may be behind the clock without having lost frames; None when no
    clock of its own paces it, so that it cannot lose any."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """Whether nothing more will come."""

    @property
    def failure(self) -> str | None:
        """Why the stream ended, when that was not on purpose."""
        return None

    @abstractmethod
    def start(self, sink: Sink) -> None:
        """Begin to deliver blocks to the sink, from another thread."""

    @abstractmethod
    def close(self) -> None:
        """Stop delivering and release the device. May hang when the device is gone."""


class Source(ABC):
    """Something that can be opened again and again."""

    @property
    @abstractmethod
    def exhausted(self) -> bool:
        """Whether there is nothing left to open: a file played to its end."""

    @abstractmethod
    def open(self) -> SourceStream:
        """Find the source and open it.

        Raises
        ------
        SourceError
            When it is not there or cannot be used at present.
        """

    def check(self) -> None:
        """Raise an error that names the remedy when the source cannot be used."""
        self.open().close()


class PacedStream(SourceStream):
    """Delivers blocks made by software, at the pace of real time or of the sink.

    No block is ever refused: when the sink is full, the stream waits.

    Parameters
    ----------
    blocks
        Yields blocks of whole frames.
    sound
        Their format.
    identity
        Name of what is played.
    realtime
        Whether to pace by the clock; otherwise as fast as the sink takes it.
    """

    clock_tolerance = None

    def __init__(
        self,
        blocks: Iterator[Buffer],
        sound: SoundFormat,
        identity: str,
        *,
        realtime: bool = True,
    ) -> None:
        self.format = sound
        self.identity = identity
        self.realtime = realtime
        self._blocks = blocks
        self._failure: str | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ended(self) -> bool:
        """Whether the last block was delivered."""
        return self._thread is not None and not self._thread.is_alive()

    @property
    def failure(self) -> str | None:
        """Why no more blocks could be made."""
        return self._failure

    def start(self, sink: Sink) -> None:
        """Begin to deliver from a thread of its own."""
        self._thread = threading.Thread(
            target=self._run, args=(sink,), name="source", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop delivering."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(10)

    def _run(self, sink: Sink) -> None:
        try:
            self._deliver_all(sink)
        except Exception as error:  # noqa: BLE001  (kept for the guard, which reports it)
            self._failure = f"{type(error).__name__}: {error}"

    def _deliver_all(self, sink: Sink) -> None:
        delivered = 0
        started_on = time.monotonic()
        for block in self._blocks:
            frames = memoryview(block).nbytes // self.format.frame_size
            if self.realtime:
                # A block exists once its last frame has sounded.
                due = started_on + (delivered + frames) / self.format.samplerate
                self._stopping.wait(max(0.0, due - time.monotonic()))
            while sink.free < frames and not self._stopping.wait(0.02):
                pass
            if self._stopping.is_set():
                return
            sink.deliver(block, frames, time.monotonic(), None, False)
            delivered += frames


class FileSource(Source):
    """Plays a sound file, or all those of a folder in the order of their names.

    Frames are delivered at the rate of the file, which is that of the recordings.
    Files that cannot be read are passed over and logged once; `failures` names them.

    Parameters
    ----------
    path
        A sound file, or a folder that is searched with its sub-folders.
    channels
        Channels delivered: the first ones of the file, at most as many as it has.
    sample_width
        Bytes of a sample delivered: 2 or 4.
    loop
        Whether to begin again after the end.
    realtime
        Whether to pace by the clock; otherwise as fast as the sink takes it.
    """

    def __init__(
        self,
        path: Path,
        *,
        channels: int = 1,
        sample_width: int = 2,
        loop: bool = True,
        realtime: bool = True,
    ) -> None:
        self.path = path
        self.channels = channels
        self.sample_width = sample_width
        self.loop = loop
        self.realtime = realtime
        self.failures: dict[str, str] = {}
        self._waiting: list[Path] | None = None

    @property
    def exhausted(self) -> bool:
        """Whether all was played and is not to be played again."""
        return not self.loop and self._waiting == []

    def list_files(self) -> list[Path]:
        """Return the files to be played, in order.

        Raises
        ------
        ConfigurationError
            When there is none.
        """
        if self.path.is_file():
            return [self.path]
        if not self.path.is_dir():
            raise ConfigurationError(
                f"microphone.source_path: there is no file or folder {self.path}"
            )
        found = sorted(
            path
            for path in self.path.rglob("*")
            if path.suffix.lower() in SOUND_FILE_SUFFIXES and path.is_file()
        )
        if not found:
            raise ConfigurationError(
                f"microphone.source_path: the folder {self.path} holds no sound file; "
                f"files ending in {', '.join(SOUND_FILE_SUFFIXES)} are looked for"
            )
        return found

    def check(self) -> None:
        """Raise an error that names the file when nothing can be played."""
        for path in self.list_files():
            try:
                self._read_format(path)
            except SourceError as error:
                self.failures[str(path)] = str(error)
            else:
                return
        raise self._nothing_readable()

    def open(self) -> SourceStream:
        """Open the next file."""
        if not self._waiting:
            self._waiting = self.list_files()
        following = self._find_next()
        if following is None:
            raise self._nothing_readable()
        blocks = self._read_on(*following)
        identity = f"file:{self.path.name}"
        return PacedStream(blocks, following[1], identity, realtime=self.realtime)

    def _find_next(self) -> tuple[Path, SoundFormat] | None:
        """Return the next file that can be read; None when there is none."""
        listed = False
        while True:
            if not self._waiting:
                if listed or not self.loop:
                    return None
                listed = True
                self._waiting = self.list_files()
                there = {str(path) for path in self._waiting}
                self.failures = {
                    path: why for path, why in self.failures.items() if path in there
                }
            path = self._waiting[0]
            try:
                return path, self._read_format(path)
            except SourceError as error:
                self._pass_over(path, str(error))
                del self._waiting[0]

    def _nothing_readable(self) -> SourceError:
        reasons = list(self.failures.values())
        more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        return SourceError(f"microphone.source_path: {'; '.join(reasons[:3])}{more}")

    def _pass_over(self, path: Path, why: str) -> None:
        if str(path) not in self.failures:
            logger.warning("passed over: %s", why)
        self.failures[str(path)] = why

    def _read_format(self, path: Path) -> SoundFormat:
        import soundfile

        from acoupi.audio.wav import SoundFormat

        try:
            info = soundfile.info(str(path))
        except (soundfile.SoundFileError, OSError) as error:
            # The library's full message names the file once more.
            why = str(getattr(error, "error_string", error)).rstrip(".")
            raise SourceError(f"{path} is not a readable sound file: {why}") from None
        if info.frames < 1:
            raise SourceError(f"{path} holds no sound")
        channels = min(self.channels, info.channels)
        return SoundFormat(info.samplerate, channels, self.sample_width)

    def _read_on(self, path: Path, sound: SoundFormat) -> Iterator[Buffer]:
        """Yield the blocks of a file and of those of its format that follow it."""
        following: tuple[Path, SoundFormat] | None = path, sound
        while self._waiting and following is not None and following[1] == sound:
            del self._waiting[0]
            yield from self._read_blocks(following[0], sound)
            following = self._find_next()

    def _read_blocks(self, path: Path, sound: SoundFormat) -> Iterator[Buffer]:
        import soundfile

        size = max(1, round(sound.samplerate * BLOCK_SECONDS))
        dtype = {2: "int16", 4: "int32"}[sound.sample_width]
        code = {2: "h", 4: "i"}[sound.sample_width]
        delivered = False
        try:
            with soundfile.SoundFile(str(path)) as file:
                while True:
                    block = memoryview(file.buffer_read(size, dtype=dtype))
                    if not block.nbytes:
                        return
                    if file.channels != sound.channels:
                        samples = memoryview(array(code, block.tobytes()))
                        yield _select_channels(samples, file.channels, sound.channels)
                    else:
                        yield block
                    delivered = True
        except soundfile.SoundFileError as error:
            # A folder of such files alone must not be read in circles: that ends the
            # stream, and the next attempt waits.
            if not delivered:
                raise
            self._pass_over(path, f"the rest of {path} cannot be read: {error}")


def _select_channels(samples: memoryview, there: int, wanted: int) -> array[int]:
    chosen = array(samples.format or "h", bytes(0))
    frames = len(samples) // there
    chosen.frombytes(bytes(frames * wanted * samples.itemsize))
    for channel in range(wanted):
        chosen[channel::wanted] = array(chosen.typecode, samples[channel::there])
    return chosen
