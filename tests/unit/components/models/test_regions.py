from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from acoupi.components.models.regions import Region, find_regions


def flood_fill(values: np.ndarray, low: float, high: float) -> set[frozenset]:
    """Find the same regions cell by cell."""
    mask = values >= low
    seen = np.zeros_like(mask)
    found = set()
    for start in zip(*np.nonzero(mask), strict=True):
        if seen[start]:
            continue
        seen[start] = True
        stack, cells = [start], set()
        while stack:
            row, column = stack.pop()
            cells.add((row, column))
            for r in range(max(row - 1, 0), min(row + 2, mask.shape[0])):
                for c in range(max(column - 1, 0), min(column + 2, mask.shape[1])):
                    if mask[r, c] and not seen[r, c]:
                        seen[r, c] = True
                        stack.append((r, c))
        if max(values[cell] for cell in cells) >= high:
            found.add(frozenset(cells))
    return found


def outline(cells: frozenset, values: np.ndarray) -> tuple:
    rows = [row for row, _ in cells]
    columns = [column for _, column in cells]
    peak = max(values[cell] for cell in cells)
    return min(rows), max(rows), min(columns), max(columns), len(cells), peak


def summary(region: Region) -> tuple:
    return (
        region.first_frame,
        region.last_frame,
        region.first_bin,
        region.last_bin,
        region.cells,
        region.peak,
    )


@settings(deadline=None)
@given(
    st.integers(1, 9).flatmap(
        lambda bins: st.lists(
            st.lists(st.integers(0, 3), min_size=bins, max_size=bins),
            min_size=1,
            max_size=9,
        )
    )
)
def test_regions_are_those_of_a_flood_fill(rows):
    values = np.array(rows, dtype=np.float32)
    found = sorted(map(summary, find_regions(values, 2, 3)))
    expected = sorted(outline(cells, values) for cells in flood_fill(values, 2, 3))
    assert found == expected


def test_nothing_above_the_threshold_is_no_region():
    assert find_regions(np.zeros((5, 5), np.float32), 1, 2) == []


def test_small_regions_are_dropped():
    values = np.zeros((5, 9), np.float32)
    values[1, 1:3] = 9
    values[3, 5:9] = 9
    assert [r.cells for r in find_regions(values, 1, 2, min_cells=3)] == [4]


def test_the_skirts_of_a_loud_region_do_not_widen_it():
    values = np.full((1, 9), 6, np.float32)
    values[0, 4] = 40
    (region,) = find_regions(values, 5, 9, extent=20)
    assert (region.first_bin, region.last_bin, region.cells) == (4, 4, 9)


def test_strength_is_the_mean_near_the_peak():
    values = np.array([[6, 20, 24, 22, 6]], np.float32)
    (region,) = find_regions(values, 5, 9)
    assert region.strength == 22
    assert (region.peak, region.peak_bin, region.peak_frame_width) == (24, 2, 5)
