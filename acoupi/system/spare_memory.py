"""Memory that a process has freed, given back to the system.

The C library keeps what is freed between blocks that are still in use. In a worker
that runs for months these pages add up, though it holds no more than on its first day.
"""

from __future__ import annotations

import ctypes

__all__ = ["PERIOD", "give_back"]

PERIOD = 600.0
"""Seconds between two times that a worker gives back."""


def give_back() -> None:
    """Give back all whole pages that hold nothing, see `malloc_trim(3)`.

    Does nothing where the C library has no such function: it is glibc's.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
