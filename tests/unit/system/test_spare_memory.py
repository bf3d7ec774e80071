"""Memory that was freed between blocks in use goes back to the system."""

from __future__ import annotations

import ctypes

import psutil
import pytest

from acoupi.system.spare_memory import give_back

MEGABYTE = 1_000_000


def resident():
    return psutil.Process().memory_info().rss / MEGABYTE


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)
def test_what_lies_freed_between_blocks_in_use_is_given_back():
    before = resident()
    # Above what Python keeps for itself; the blocks that stay hold the rest.
    blocks = [bytes(1000) for _ in range(60_000)]
    kept = blocks[::1000]
    del blocks
    assert resident() - before > 40, "the C library gave it back by itself"
    give_back()
    assert resident() - before < 10
    assert len(kept) == 60
