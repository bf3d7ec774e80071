from __future__ import annotations

import logging

from acoupi.components.recorders import losses
from acoupi.components.recorders.losses import Loss, LossAccount


def test_losses_are_summed_until_they_are_taken_and_kept_when_given_back():
    account = LossAccount()
    account.add(Loss("samples", 3, "late"))
    account.add(Loss("samples", 4, "late"))
    account.add(Loss("recordings", 1, "full"))
    taken = account.take()
    assert taken == [Loss("samples", 7, "late"), Loss("recordings", 1, "full")]
    assert account.take() == []
    account.take_back(taken[0])
    account.add(Loss("samples", 1, "late"))
    assert account.take() == [Loss("samples", 8, "late")]


def test_what_is_lost_again_and_again_is_logged_once_an_hour(caplog, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(losses.time, "monotonic", lambda: now[0])
    account = LossAccount()
    with caplog.at_level(logging.ERROR):
        for _ in range(700):
            account.add(Loss("recordings", 1, "full"))
            account.take()
            now[0] += 10
    assert len(caplog.records) == 2
