"""Connected regions of the time-frequency plane, found with hysteresis.

Method: run-length connected-component labelling (two-pass, union-find) with the double
threshold known from edge detection (J. Canny, IEEE PAMI 8, 1986, 679-698).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Region", "find_regions"]


@dataclass(frozen=True)
class Region:
    """A connected region; ``first`` and ``last`` belong to it."""

    first_frame: int
    last_frame: int
    first_bin: int
    last_bin: int
    cells: int
    """How many cells it has, all of them above the low threshold."""
    peak: float
    """Largest value."""
    peak_bin: int
    """Bin of the largest value."""
    peak_frame_width: int
    """Bins from its lowest to its highest in the frame of the largest value."""
    strength: float
    """Mean of the values not far below the peak (see ``core``)."""


def find_regions(
    values: NDArray[np.float32],
    low: float,
    high: float,
    *,
    min_cells: int = 1,
    extent: float = np.inf,
    core: float = 6.0,
) -> list[Region]:
    """Find regions above ``low`` that reach ``high`` somewhere.

    Cells are neighbours also across corners.

    Parameters
    ----------
    values
        Shape (frames, bins).
    low, high
        Thresholds, low <= high.
    min_cells
        Smaller regions are dropped.
    extent
        Cells further below the region's peak than this do not widen its edges: the
        skirts of a loud sound are leakage, not sound.
    core
        Cells not further below the peak than this make up ``strength``.

    Returns
    -------
    list of Region
        In the order of their first cells.
    """
    frames, starts, ends = _runs(values >= low)
    if not len(frames):
        return []
    labels = _connect(frames, starts, ends, values.shape[1] + 3)
    lengths = ends - starts + 1
    cell_labels = np.repeat(labels, lengths)
    order = np.argsort(cell_labels, kind="stable")
    offsets = np.cumsum(lengths) - lengths
    cell_bins = np.arange(len(cell_labels)) - np.repeat(offsets - starts, lengths)
    cell_frames = np.repeat(frames, lengths)
    cell_frames, cell_bins = cell_frames[order], cell_bins[order]
    cell_values = values[cell_frames, cell_bins]
    sorted_labels = cell_labels[order]
    first = np.flatnonzero(np.r_[True, sorted_labels[1:] != sorted_labels[:-1]])
    last = np.r_[first[1:], len(sorted_labels)]
    peaks = np.maximum.reduceat(cell_values, first)
    found = []
    for index in np.flatnonzero((peaks >= high) & (last - first >= min_cells)):
        span = slice(first[index], last[index])
        found.append(
            _describe(
                cell_frames[span], cell_bins[span], cell_values[span], extent, core
            )
        )
    return found


def _describe(
    frames: NDArray[np.int64],
    bins: NDArray[np.int64],
    values: NDArray[np.float32],
    extent: float,
    core: float,
) -> Region:
    place = int(np.argmax(values))
    peak = float(values[place])
    near = values >= peak - extent
    loudest = bins[near & (frames == frames[place])]
    return Region(
        first_frame=int(frames[near].min()),
        last_frame=int(frames[near].max()),
        first_bin=int(bins[near].min()),
        last_bin=int(bins[near].max()),
        cells=len(values),
        peak=peak,
        peak_bin=int(bins[place]),
        peak_frame_width=int(loudest.max() - loudest.min()) + 1,
        strength=float(values[values >= peak - core].mean()),
    )


def _runs(
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return frame, first bin and last bin of each run of set cells, in order."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 1), dtype=np.int8)
    padded[:, :-1] = mask
    edges = np.diff(padded.ravel(), prepend=np.int8(0))
    begins = np.flatnonzero(edges == 1)
    stops = np.flatnonzero(edges == -1) - 1
    width = padded.shape[1]
    return begins // width, begins % width, stops % width


def _connect(
    frames: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    width: int,
) -> NDArray[np.int64]:
    """Give each run the number of the region it belongs to."""
    # Runs are sorted, so those of the frame before that touch a run are a slice.
    start_keys = frames * width + starts + 1
    end_keys = frames * width + ends + 1
    begin = np.searchsorted(end_keys, start_keys - width - 1, side="left")
    stop = np.searchsorted(start_keys, end_keys - width + 1, side="right")
    parents = list(range(len(frames)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    touching = np.flatnonzero(stop > begin)
    for run in touching.tolist():
        own = root(run)
        for other in range(int(begin[run]), int(stop[run])):
            theirs = root(other)
            if theirs != own:
                # The smaller number wins: regions are numbered by their first run.
                own, theirs = min(own, theirs), max(own, theirs)
                parents[theirs] = own
    return np.array([root(run) for run in range(len(frames))], dtype=np.int64)
