"""Puts recordings where they belong."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from acoupi.audio.durability import copy_durably, fsync_directory
from acoupi.components.places import existing_place
from acoupi.components.saving.filters import best_score
from acoupi.components.types import RecordingSavingManager
from acoupi.errors import ConfigurationError

if TYPE_CHECKING:
    from acoupi import data

__all__ = ["PlaceError", "SaveRecordingManager"]

logger = logging.getLogger(__name__)

MAX_REMEMBERED = 100
"""Directories remembered as free of leftovers: looking takes long in a full one."""


class PlaceError(OSError):
    """The directory for recordings cannot be used; that is no recording's fault."""


class SaveRecordingManager(RecordingSavingManager):
    """Copies recordings into directories by how certain the detections are.

    A recording that no model has looked at goes to ``dirpath``. Of the others, what
    was detected best decides: a ``detection_score`` of at least
    ``detection_threshold`` puts it into ``dirpath_true``, one of at least
    ``saving_threshold`` into ``dirpath_false``; below that, the manager passes.

    The copy is complete and on the disk when the manager returns; repeating it after
    a power cut gives the same file. The keeping task removes the original.

    Parameters
    ----------
    dirpath
        For recordings without model outputs.
    dirpath_true, dirpath_false
        For confident and for less confident detections; ``dirpath`` when not given.
    timeformat
        How the start of the recording (UTC) is written in the file's name, as for
        `datetime.datetime.strftime`. A ``/`` makes sub-directories. Milliseconds and
        the start of the recording's id follow, so that names are unique.
    detection_threshold, saving_threshold
        Detection scores, [0, 1].
    file_format
        ``keep`` leaves the file as it was recorded, ``flac`` compresses WAV files
        without loss to about half their size.
    compression
        Of FLAC, from 0 (fast) to 1 (small).
    make_directories
        Whether to make the directories now rather than for the first recording.

    Raises
    ------
    ConfigurationError
        When a threshold is out of range or a directory cannot be made.
    """

    def __init__(
        self,
        dirpath: Path,
        dirpath_true: Path | None = None,
        dirpath_false: Path | None = None,
        timeformat: str = "%Y%m%d_%H%M%S",
        detection_threshold: float = 0.6,
        saving_threshold: float = 0.3,
        file_format: Literal["keep", "flac"] = "keep",
        compression: float = 0.4,
        make_directories: bool = True,
    ) -> None:
        for name, value in (
            ("detection_threshold", detection_threshold),
            ("saving_threshold", saving_threshold),
        ):
            if not 0 <= value <= 1:
                raise ConfigurationError(f"{name} is {value}: must be within [0, 1]")
        self.dirpath = Path(dirpath)
        self.dirpath_true = Path(dirpath_true or dirpath)
        self.dirpath_false = Path(dirpath_false or dirpath)
        self.timeformat = timeformat
        self.detection_threshold = detection_threshold
        self.saving_threshold = saving_threshold
        self.file_format = file_format
        self.compression = compression
        self._cleaned: set[Path] = set()
        if make_directories:
            for directory in (self.dirpath, self.dirpath_true, self.dirpath_false):
                self._make_now(directory)

    def check(self) -> None:
        """Raise an error when a directory cannot be written to, or not be made.

        Raises
        ------
        ConfigurationError
            When it cannot.
        """
        for directory in (self.dirpath, self.dirpath_true, self.dirpath_false):
            try:
                place = existing_place(directory)
                usable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
            except OSError:
                # Not even to be looked at.
                place, usable = directory, False
            if not usable:
                raise ConfigurationError(
                    f"recordings cannot be kept in {directory}, as {place} cannot be "
                    "written to: choose another directory (paths.recordings), or make "
                    "it writable for the user that runs the sensor"
                )

    def save_recording(
        self,
        recording: data.Recording,
        model_outputs: list[data.ModelOutput] | None = None,
    ) -> Path | None:
        """Copy the recording's file and return its new path, or None to pass.

        Raises
        ------
        PlaceError
            When the directory cannot be made or written to.
        OSError
            When the file cannot be read or the disk refuses; nothing is left behind.
        """
        directory = self.get_directory(model_outputs)
        if directory is None or recording.path is None:
            return None
        source = recording.path
        compress = self.file_format == "flac" and source.suffix.lower() == ".wav"
        suffix = ".flac" if compress else source.suffix.lower()
        target = directory / f"{self.get_name(recording)}{suffix}"
        self._make(target.parent)
        if compress:
            compressed = self._compress(source, target)
            if compressed is not None:
                return compressed
            target = target.with_suffix(source.suffix.lower())
        return copy_durably(source, target)

    def get_directory(
        self, model_outputs: list[data.ModelOutput] | None
    ) -> Path | None:
        """Return where a recording with these outputs belongs, None for nowhere."""
        if not model_outputs:
            return self.dirpath
        best = best_score(model_outputs)
        if best is None:
            return None
        if best >= self.detection_threshold:
            return self.dirpath_true
        if best >= self.saving_threshold:
            return self.dirpath_false
        return None

    def get_name(self, recording: data.Recording) -> str:
        """Return the file's name without its ending, unique to the recording."""
        created_on = recording.created_on
        return (
            f"{created_on.strftime(self.timeformat)}"
            f"_{created_on.microsecond // 1000:03d}_{recording.id.hex[:8]}"
        )

    def _compress(self, source: Path, target: Path) -> Path | None:
        from acoupi.audio.soundfiles import SoundFileError, encode_flac

        try:
            return encode_flac(source, target, self.compression)
        except SoundFileError as error:
            logger.warning("%s is kept as it is: %s", source, error)
            return None

    @staticmethod
    def _make_now(directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{directory} cannot be made ({error.strerror}): choose a "
                "directory for recordings that can be written to."
            ) from error

    def _make(self, directory: Path) -> None:
        try:
            is_new = not directory.is_dir()
            if is_new:
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PlaceError(error.errno, error.strerror, str(directory)) from error
        if is_new:
            fsync_directory(directory.parent)
        if not os.access(directory, os.W_OK | os.X_OK):
            raise PlaceError(errno.EACCES, os.strerror(errno.EACCES), str(directory))
        if directory in self._cleaned:
            return
        # what a power cut left of an unfinished copy; hidden, so never a recording
        for leftover in directory.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        # a time format may make a directory a day
        if len(self._cleaned) >= MAX_REMEMBERED:
            self._cleaned.clear()
        self._cleaned.add(directory)
