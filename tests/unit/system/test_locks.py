"""Locks that one process at a time holds, and those that it has only just given up."""

from __future__ import annotations

import fcntl
import os
import threading

import pytest

from acoupi.system.locks import take_lock


@pytest.fixture
def descriptors(tmp_path):
    """Two descriptors of one file, as two processes have them."""
    opened = [os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield opened
    for descriptor in opened:
        os.close(descriptor)


def test_a_lock_that_stays_taken_is_refused(descriptors):
    one, other = descriptors
    assert take_lock(one)
    assert not take_lock(other, patience=0)


def test_a_lock_of_one_that_just_ends_is_waited_for(descriptors):
    one, other = descriptors
    assert take_lock(one)
    ending = threading.Timer(0.2, fcntl.flock, (one, fcntl.LOCK_UN))
    ending.start()
    assert take_lock(other, patience=60)
    ending.join()
