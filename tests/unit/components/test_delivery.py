from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acoupi.components.delivery import DestinationState, RetryPolicy


def no_jitter() -> float:
    return 0.0


def test_delays_double_up_to_the_limit():
    policy = RetryPolicy(first_delay=10, longest_delay=900)

    delays = [policy.delay(n, no_jitter) for n in range(1, 10)]

    assert delays == [10, 20, 40, 80, 160, 320, 640, 900, 900]


@given(
    failures=st.integers(min_value=-5, max_value=10**9),
    draw=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_delays_are_bounded_after_any_number_of_failures(failures, draw):
    policy = RetryPolicy(first_delay=10, longest_delay=900, jitter=0.5)

    assert 5 <= policy.delay(failures, lambda: draw) <= 900


def test_a_failing_destination_is_left_alone_and_tried_again():
    state = DestinationState(RetryPolicy(first_delay=10), draw=no_jitter)
    assert state.ready(0)

    state.destination_failed(now=100)

    assert not state.ready(109.9)
    assert state.ready(110)


def test_an_accepted_message_ends_the_back_off():
    state = DestinationState(draw=no_jitter)
    for now in range(20):
        state.destination_failed(now)

    state.message_accepted(uuid4())

    assert state.failures == 0
    assert state.ready(20)


def test_a_message_is_not_parked_while_everything_is_refused():
    state = DestinationState(RetryPolicy(max_refused_in_a_row=10**6))
    message = uuid4()

    for run in range(1000):
        state.begin_run()
        assert not state.message_refused(message, now=run).park


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_message_refused_while_others_are_accepted_is_parked(before):
    state = DestinationState(RetryPolicy(max_refusals=3))
    bad = uuid4()
    parked_after = None

    for run in range(1, 10):
        state.begin_run()
        if before:
            state.message_accepted(uuid4())
        refusal = state.message_refused(bad, now=run)
        if refusal.park:
            parked_after = run
            break
        if not before:
            state.message_accepted(uuid4())

    # What is accepted later proves a refusal only in hindsight.
    assert parked_after == (3 if before else 4)


def test_many_refusals_in_a_row_block_the_destination():
    state = DestinationState(RetryPolicy(max_refused_in_a_row=3), draw=no_jitter)

    for _ in range(3):
        assert state.ready(0)
        state.message_refused(uuid4(), now=0)

    assert not state.ready(0)


def test_memory_of_refused_messages_is_bounded():
    state = DestinationState()
    for _ in range(10_100):
        state.message_refused(uuid4(), now=0)

    assert len(state._refused) == 10_000


def test_a_later_message_is_probed_only_after_patience_and_never_the_same_for_ever():
    state = DestinationState(RetryPolicy(patience=3))
    head = uuid4()

    probes = []
    for _ in range(15):
        state.destination_failed(0)
        probes.append(state.probe_behind(head))

    assert probes[:2] == [None, None]
    assert probes[2:] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3]


def test_a_message_refused_before_is_suspected_at_once():
    state = DestinationState(RetryPolicy(patience=5))
    head = uuid4()
    state.message_refused(head, now=0)
    state.message_accepted(uuid4())

    state.destination_failed(0)

    assert state.probe_behind(head) == 1
    assert state.probe_behind(uuid4()) is None
