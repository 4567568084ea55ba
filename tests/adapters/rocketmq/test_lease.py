"""What is given back to a broker never ends in the millisecond in which its lease does."""

from __future__ import annotations

import pytest

from evermq.adapters.rocketmq.lease import clear_of, surely


@pytest.mark.parametrize("lease_ms", [3_000, 30_000, 600_000])
@pytest.mark.parametrize("early_ms", [0, 1, 500])
@pytest.mark.parametrize("late_ms", [0, 1, 500])
def test_what_is_given_back_is_not_due_when_its_lease_ends(lease_ms: int, early_ms: int, late_ms: int) -> None:
    """early_ms: so long the message was on its way here; late_ms: so long the request to give it back is."""
    for passed_ms in range(0, lease_ms, 7):
        left_ms = surely(lease_ms) - passed_ms
        ends_ms = lease_ms - early_ms - passed_ms
        for hidden_ms in {0, 100, ends_ms - late_ms, ends_ms, left_ms, lease_ms // 2}:
            if hidden_ms >= 0:
                due_ms = late_ms + clear_of(lease_ms, left_ms, hidden_ms)
                assert due_ms != ends_ms
                assert due_ms >= hidden_ms


def test_what_is_far_from_the_end_of_its_lease_comes_when_it_is_to() -> None:
    assert clear_of(30_000, 20_000, 0) == 0
    assert clear_of(30_000, 20_000, 5_000) == 5_000
    assert clear_of(30_000, 2_000, 60_000) == 60_000
