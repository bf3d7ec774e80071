"""Short-time spectra, band levels and spectrogram images.

Method: Welch's overlapping windowed periodograms (IEEE Trans. Audio Electroacoustics
15, 1967, 70-73) with Hann windows that overlap by half.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from acoupi.audio.durability import publish, temporary_beside

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "SpectrumLayout",
    "band_levels",
    "decibels",
    "power_spectra",
    "write_spectrogram_image",
]

QUANTISATION_POWER = (2.0**-15) ** 2 / 12
"""Mean square of 16-bit rounding errors, full scale being 1 (Widrow's uniform noise
model): nothing quieter than this is sound."""
BATCH = 256
"""Spectra computed at once: enough to be fast, few enough to stay in the cache."""


@dataclass(frozen=True)
class SpectrumLayout:
    """Where the cells of a short-time spectrum lie in time and frequency."""

    samplerate: int
    """Frames per second, in Hz."""
    window: int
    """Frames per spectrum; even."""

    @classmethod
    def for_samplerate(cls, samplerate: int) -> SpectrumLayout:
        """Choose about 21 ms, as for birdsong, but 1024 frames above 48 kHz.

        Ultrasonic calls last a few milliseconds and sweep fast: there the window gets
        shorter in time (2.7 ms at 384 kHz) and the frequencies coarser.
        """
        window = 1024
        while window > 64 and window > samplerate / 40:
            window //= 2
        return cls(samplerate, window)

    @property
    def hop(self) -> int:
        """Frames from one spectrum to the next."""
        return self.window // 2

    @property
    def bins(self) -> int:
        """Frequencies per spectrum."""
        return self.window // 2 + 1

    @property
    def bin_width(self) -> float:
        """Hz from one frequency to the next."""
        return self.samplerate / self.window

    @property
    def step(self) -> float:
        """Seconds from one spectrum to the next."""
        return self.hop / self.samplerate

    @property
    def silence(self) -> float:
        """Power per cell of the rounding errors of 16-bit sound."""
        # Power is spread evenly over the bins that both halves of the spectrum have.
        return QUANTISATION_POWER * 2 / self.window


def power_spectra(
    blocks: Iterable[NDArray[np.float32]], layout: SpectrumLayout
) -> Iterator[NDArray[np.float32]]:
    """Turn sound into power spectra, piece by piece.

    Parameters
    ----------
    blocks
        Pieces of one sound, shape (frames,) or (frames, channels), any length. What
        is no finite number counts as silence.
    layout
        Window and samplerate.

    Yields
    ------
    numpy.ndarray
        Shape (spectra, bins), mean over the channels, one-sided; the sum over the
        bins is the mean square of the sound. The last, incomplete window is dropped.
    """
    turns = np.arange(layout.window) / layout.window
    window: NDArray[np.float32] = (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(
        np.float32
    )
    scale = np.float32(2 / (layout.window * float(np.sum(window**2))))
    rest: NDArray[np.float32] | None = None
    for piece in blocks:
        block = np.asarray(piece, dtype=np.float32)
        block = block[:, None] if block.ndim == 1 else block
        if not np.isfinite(block).all():
            # floating-point files of others may hold such; one would spoil a window
            block = np.nan_to_num(block, nan=0, posinf=0, neginf=0)
        if rest is not None:
            block = np.concatenate([rest, block])
        count = (len(block) - layout.window) // layout.hop + 1
        if count < 1:
            rest = block
            continue
        yield _power(block, count, layout, window) * scale
        rest = block[count * layout.hop :]


def _power(
    block: NDArray[np.float32],
    count: int,
    layout: SpectrumLayout,
    window: NDArray[np.float32],
) -> NDArray[np.float32]:
    power = np.zeros((count, layout.bins), dtype=np.float32)
    for channel in range(block.shape[1]):
        frames = np.lib.stride_tricks.sliding_window_view(
            np.ascontiguousarray(block[:, channel]), layout.window
        )[:: layout.hop]
        for start in range(0, count, BATCH):
            spectra = np.fft.rfft(frames[start : start + BATCH] * window)
            power[start : start + BATCH] += spectra.real**2 + spectra.imag**2
    power /= block.shape[1]
    return power


def decibels(power: NDArray[np.float32], smallest: float) -> NDArray[np.float32]:
    """Return ``10 log10`` of power, of at least ``smallest`` (> 0)."""
    level: NDArray[np.float32] = np.maximum(power, np.float32(smallest))
    np.log10(level, out=level)
    level *= np.float32(10)
    return level


def band_levels(
    power: NDArray[np.float32],
    layout: SpectrumLayout,
    bands: Iterable[tuple[float, float]],
) -> NDArray[np.float32]:
    """Return the level in each band, in dB relative to full scale.

    Parameters
    ----------
    power
        Of `power_spectra`, shape (spectra, bins).
    layout
        The one it was made with.
    bands
        Lowest frequency and, above it, first frequency beyond the band, in Hz.

    Returns
    -------
    numpy.ndarray
        Shape (spectra, bands).
    """
    frequencies = np.arange(layout.bins) * layout.bin_width
    sums = [
        power[:, (frequencies >= low) & (frequencies < high)].sum(axis=1)
        for low, high in bands
    ]
    return decibels(np.stack(sums, axis=1).astype(np.float32), layout.silence)


def write_spectrogram_image(
    path: Path,
    blocks: Iterable[NDArray[np.float32]],
    layout: SpectrumLayout,
    max_width: int = 2000,
    dynamic_range: float = 80.0,
) -> Path:
    """Draw a sound as a grey PNG: time to the right, frequency upwards, loud is dark.

    Parameters
    ----------
    path
        Complete or absent afterwards; its directory exists.
    blocks, layout
        As for `power_spectra`; sound of at least one window.
    max_width
        Pixels; several spectra share a column, the loudest counting, when there are
        more.
    dynamic_range
        dB from white to black, black being the loudest cell.

    Raises
    ------
    ValueError
        If the sound is shorter than one window.
    OSError
        If the disk refuses.
    """
    columns: list[NDArray[np.float32]] = []
    together = 1
    pending = 0
    for spectra in power_spectra(blocks, layout):
        for spectrum in spectra:
            if pending:
                np.maximum(columns[-1], spectrum, out=columns[-1])
            else:
                columns.append(spectrum.copy())
            pending = (pending + 1) % together
            if len(columns) > max_width and not pending:
                # Bounded memory whatever the length: halve the width, go on.
                pairs = [
                    np.maximum(a, b)
                    for a, b in zip(columns[::2], columns[1::2], strict=False)
                ]
                rest = columns[-1:] if len(columns) % 2 else []
                columns, pending = pairs + rest, together if rest else 0
                together *= 2
    if not columns:
        raise ValueError(f"sound shorter than one window of {layout.window} frames")
    level = decibels(np.stack(columns, axis=1), layout.silence)
    loudest = level.max()
    grey = np.clip((loudest - level) / dynamic_range, 0, 1) * 255
    return _write_png(path, grey[::-1].astype(np.uint8))


def _write_png(path: Path, grey: NDArray[np.uint8]) -> Path:
    # PNG (ISO 15948): each row is preceded by its filter, 0 for none.
    height, width = grey.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)
    rows[:, 1:] = grey
    content = (
        b"\x89PNG\r\n\x1a\n"
        + _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + _png_chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
        + _png_chunk(b"IEND", b"")
    )
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    )
