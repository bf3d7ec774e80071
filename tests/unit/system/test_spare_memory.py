"""Memory that was freed between blocks in use goes back to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

WORK = """
import psutil
from acoupi.system.spare_memory import give_back

def resident():
    return psutil.Process().memory_info().rss / 1e6

before = resident()
# Above what Python keeps for itself; the blocks that stay hold the rest.
blocks = [bytes(1000) for _ in range(60_000)]
kept = blocks[::1000]
del blocks
freed = resident() - before
give_back()
print(freed, resident() - before, len(kept))
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)
def test_what_lies_freed_between_blocks_in_use_is_given_back():
    # In a process that has not used much memory before, and so has none to spare.
    done = subprocess.run(
        [sys.executable, "-c", WORK], check=True, capture_output=True, text=True
    )
    freed, left, kept = map(float, done.stdout.split())
    assert freed > 40, "the C library gave it back by itself"
    assert left < 10
    assert kept == 60
