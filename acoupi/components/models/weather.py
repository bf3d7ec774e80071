"""What weather adds to a sound: the noise that fills whole bands of frequencies.

A voice is narrow: it stands out from its neighbourhood in frequency. Wind, rain and
engines raise all of it. So the median rise of a band's frequencies, which a narrow
sound does not move, tells them apart:

- What lasts for most of half a second is weather in every band.
- What fills the lowest bands is wind, however fast it changes.
- What raises nearly all bands at once is an impulse: a click or a drop.
- Bands that flutter fast all the time (rain) need a larger distance from the floor.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from acoupi.audio.spectrum import SpectrumLayout

__all__ = ["BAND_BINS", "FAINT", "take_off_weather"]

BAND_BINS = 16
"""Fewest frequencies of a band; a pure tone, smoothed, covers 6."""
COARSE_BIN = 150.0
"""Hz: beyond it (ultrasonic rates) `BAND_BINS` would make the lowest band far wider
than wind is, and there are no tones to be told from it."""
COARSE_BAND_BINS = 6
LASTING_SECONDS = 0.6
"""Span over which a rise of a whole band counts as lasting."""
LASTING_QUANTILE = 0.3
LASTING_STEP = 0.02
"""Seconds: resolution at which lasting rises are followed."""
WIND_FREQUENCY = 1000.0
"""Hz: bands that begin below half of this are where wind is."""
IMPULSE_SHARE = 0.75
"""Share of the bands that rise together in an impulse."""
IMPULSE_RISE = 3.0
"""dB by which they rise at least."""
IMPULSE_FRINGE = 2
"""Spectra before and after into which windows and smoothing smear an impulse."""
DROP_CAUTION = 4.0
"""Times the flutter by which an impulse must rise: in rain it is most likely a drop."""
FAINT = 0.1
"""dB given to impulses that do not stand out: they count as neighbours of others."""
FLUTTER_SECONDS = 0.1
"""What changes faster than this is flutter."""
FLUTTER_QUANTILE = 0.9
FLUTTER_NORMAL = 1.5
"""dB of flutter that steady noise has."""
FLUTTER_WEIGHT = 2.0
"""dB of distance for each dB of flutter beyond that."""


def take_off_weather(
    rise: NDArray[np.float32], layout: SpectrumLayout, first_bin: int
) -> NDArray[np.float32]:
    """Take off what weather adds, and tell where impulses are.

    Parameters
    ----------
    rise
        dB above the noise floor, shape (spectra, bins); changed in place.
    layout
        Where the cells lie.
    first_bin
        Bin of the layout that the first column is.

    Returns
    -------
    numpy.ndarray
        dB by which nearly all bands rise at once, beyond what they flutter, but at
        least `FAINT`; 0 at all other moments; shape (spectra,).
    """
    narrowest = BAND_BINS if layout.bin_width < COARSE_BIN else COARSE_BAND_BINS
    edges = _band_edges(rise.shape[1], narrowest)
    bands = np.stack(
        [
            np.partition(rise[:, a:b], (b - a) // 2, axis=1)[:, (b - a) // 2]
            for a, b in itertools.pairwise(edges)
        ],
        axis=1,
    )
    weather = np.maximum(_lasting(bands, layout), 0)
    sudden = bands - weather
    for band, edge in enumerate(edges[:-1]):
        if (first_bin + edge) * layout.bin_width < WIND_FREQUENCY / 2:
            weather[:, band] = np.maximum(weather[:, band], bands[:, band])
    flutter = _flutter(bands, layout)
    rank = int((1 - IMPULSE_SHARE) * (len(edges) - 2))
    impulse = np.partition(sudden, rank, axis=1)[:, rank] >= IMPULSE_RISE
    fringe = _widened(impulse, IMPULSE_FRINGE)
    weather[fringe] = np.maximum(bands[fringe], weather[fringe])
    weather += flutter
    for band, (a, b) in enumerate(itertools.pairwise(edges)):
        rise[:, a:b] -= weather[:, band, None]
    strength = np.maximum(np.median(sudden - DROP_CAUTION * flutter, axis=1), FAINT)
    return np.where(impulse, strength, 0).astype(np.float32)


def _widened(moments: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    for _ in range(by):
        grown = moments.copy()
        grown[1:] |= moments[:-1]
        grown[:-1] |= moments[1:]
        moments = grown
    return moments


def _coarse(
    bands: NDArray[np.float32], layout: SpectrumLayout
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return means over `LASTING_STEP` and how many spectra each covers."""
    group = max(1, round(LASTING_STEP / layout.step))
    starts = np.arange(0, len(bands), group)
    counts = np.diff(np.r_[starts, len(bands)])
    return np.add.reduceat(bands, starts, axis=0) / counts[:, None], counts


def _running_quantile(
    values: NDArray[np.float64], span: int, quantile: float
) -> NDArray[np.float64]:
    # Mirrored ends: a sound at the edge is judged by what is on its one side.
    reach = min(span // 2, len(values) - 1)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="reflect")
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=0)
    rank = int(quantile * 2 * reach)
    found: NDArray[np.float64] = np.partition(views, rank, axis=2)[:, :, rank]
    return found


def _lasting(bands: NDArray[np.float32], layout: SpectrumLayout) -> NDArray[np.float32]:
    """Return the rise that holds for most of `LASTING_SECONDS` around each moment."""
    coarse, counts = _coarse(bands, layout)
    span = round(LASTING_SECONDS / LASTING_STEP)
    slow = _running_quantile(coarse, span, LASTING_QUANTILE)
    return np.repeat(slow, counts, axis=0).astype(np.float32)


def _flutter(bands: NDArray[np.float32], layout: SpectrumLayout) -> NDArray[np.float32]:
    """Return the distance that fast changes of each band call for."""
    coarse, counts = _coarse(bands, layout)
    span = round(FLUTTER_SECONDS / LASTING_STEP)
    slow = _running_quantile(coarse, span, 0.5)
    fast = bands - np.repeat(slow, counts, axis=0)
    rank = int(FLUTTER_QUANTILE * (len(fast) - 1))
    usual = np.partition(fast, rank, axis=0)[rank]
    distance: NDArray[np.float32] = FLUTTER_WEIGHT * np.maximum(
        usual - FLUTTER_NORMAL, 0
    ).astype(np.float32)
    return distance


def _band_edges(bins: int, narrowest: int) -> list[int]:
    """Cut the frequencies into bands: octaves, but neither too narrow nor too wide."""
    widest = max(BAND_BINS, bins // 6)
    edges = [0]
    while edges[-1] < bins:
        width = min(max(edges[-1], narrowest), widest)
        edges.append(edges[-1] + width)
    # What is left over belongs to the last band.
    if len(edges) > 2 and edges[-1] > bins:
        edges.pop()
    edges[-1] = bins
    return edges
