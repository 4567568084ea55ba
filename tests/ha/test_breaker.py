"""Away at once, back slowly: the state machine of one rung, driven by square waves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermq.ha.breaker import Breaker, Pace, State

PACE = Pace()


def ride(breaker: Breaker, good: bool, *, from_ms: int, for_ms: int, every_ms: int = 1_000) -> int:
    """Round trips that all go well, or all badly; returns the time at the end."""
    for now_ms in range(from_ms, from_ms + for_ms, every_ms):
        if good:
            breaker.good(now_ms)
        else:
            breaker.bad("no answer", now_ms)
        breaker.tick(now_ms)
    return from_ms + for_ms


def test_it_opens_at_once_and_comes_back_through_a_small_share() -> None:
    breaker = Breaker(PACE, 0)
    breaker.trip("down", 1_000)
    assert (breaker.state.name, breaker.reason) == ("DEGRADED", "down")
    now_ms = ride(breaker, True, from_ms=1_000, for_ms=15_000)
    assert breaker.state.name == "DEGRADED"
    now_ms = ride(breaker, True, from_ms=now_ms, for_ms=1_000)
    assert breaker.state.name == "RETURNING"
    now_ms = ride(breaker, True, from_ms=now_ms, for_ms=4_000)
    assert breaker.state.name == "RETURNING"
    ride(breaker, True, from_ms=now_ms, for_ms=1_000)
    assert breaker.state.name == "NORMAL"


def test_one_good_probe_and_five_quick_ones_bring_nothing_back() -> None:
    breaker = Breaker(PACE, 0)
    breaker.trip("down", 0)
    now_ms = ride(breaker, False, from_ms=0, for_ms=60_000)
    ride(breaker, True, from_ms=now_ms, for_ms=500, every_ms=50)
    assert breaker.state.name == "DEGRADED"


def test_failure_on_the_way_back_is_a_relapse_and_doubles_the_dwell() -> None:
    breaker = Breaker(PACE, 0)
    breaker.trip("down", 0)
    now_ms = ride(breaker, True, from_ms=0, for_ms=16_000)
    assert breaker.state.name == "RETURNING"
    breaker.bad("no answer", now_ms)
    assert (breaker.state.name, breaker.reason) == ("DEGRADED", "relapse: no answer")
    now_ms = ride(breaker, True, from_ms=now_ms, for_ms=30_000)
    assert breaker.state.name == "DEGRADED"
    ride(breaker, True, from_ms=now_ms, for_ms=1_000)
    assert breaker.state.name == "RETURNING"


def test_nothing_returns_before_it_is_clear() -> None:
    breaker, now_ms = Breaker(PACE, 0), 0
    breaker.trip("down", 0)
    for _ in range(60):
        now_ms += 1_000
        breaker.good(now_ms)
        breaker.tick(now_ms, clear=False)
    assert breaker.state.name == "DEGRADED"
    breaker.tick(now_ms)
    assert breaker.state.name == "RETURNING"


def test_after_a_long_time_without_trouble_the_dwell_is_short_again() -> None:
    breaker = Breaker(PACE, 0)
    now_ms = 0
    for _ in range(4):
        breaker.trip("down", now_ms)
        now_ms = ride(breaker, True, from_ms=now_ms, for_ms=300_000)
    assert breaker.state.name == "NORMAL"
    now_ms += 300_000
    breaker.trip("down", now_ms)
    ride(breaker, True, from_ms=now_ms, for_ms=16_000)
    assert breaker.state.name == "RETURNING"


@pytest.mark.parametrize("half_ms", [200, 1_000, 5_000, 20_000, 60_000])
@pytest.mark.parametrize("probe_ms", [100, 1_000, 2_000])
def test_square_wave_of_ten_minutes_opens_a_bounded_number_of_times(half_ms: int, probe_ms: int) -> None:
    breaker, opened = Breaker(PACE, 0), 0
    for now_ms in range(0, 600_000, probe_ms):
        if (now_ms // half_ms) % 2:
            breaker.good(now_ms)
        elif breaker.state is State.NORMAL:
            breaker.trip("down", now_ms)
            opened += 1
        else:
            breaker.bad("no answer", now_ms)
        breaker.tick(now_ms)
    assert 1 <= opened <= breaker.trips <= 6  # 15 + 30 + 60 + 120 + 240 s of dwell are 465 of the 600


@given(st.lists(st.tuples(st.sampled_from(["good", "bad", "trip"]), st.integers(1, 20_000)), max_size=60))
def test_it_never_returns_before_its_dwell_and_its_good_round_trips(steps: list[tuple[str, int]]) -> None:
    breaker, now_ms, tripped_ms, dwell_ms, good = Breaker(PACE, 0), 0, 0, 0, 0
    for step, after_ms in steps:
        now_ms += after_ms
        before = breaker.state
        if step == "good":
            breaker.good(now_ms)
            good += 1
        else:
            if step == "trip":
                breaker.trip("down", now_ms)
            else:
                breaker.bad("no answer", now_ms)
                good = 0
            if before is not State.DEGRADED and breaker.state is State.DEGRADED:
                tripped_ms, good = now_ms, 0
                dwell_ms = min(max(PACE.dwell_ms, dwell_ms), PACE.dwell_ms_max)
        breaker.tick(now_ms)
        if before is State.DEGRADED and breaker.state is State.RETURNING:
            assert now_ms - tripped_ms >= dwell_ms
            assert good >= PACE.good
        assert not (before is State.DEGRADED and breaker.state is State.NORMAL)
        assert not (before is State.NORMAL and breaker.state is State.RETURNING)


@pytest.mark.parametrize("pace", [PACE, Pace(dwell_ms_max=15_000), Pace(dwell_ms=2_000, dwell_ms_max=9_000)])
def test_dwell_that_is_told_in_advance_is_the_one_that_is_kept(pace: Pace) -> None:
    breaker, now_ms = Breaker(pace, 0), 0
    for trips in range(1, 9):
        breaker.trip("down", now_ms)
        tripped_ms = now_ms
        while breaker.state is State.DEGRADED:
            now_ms = ride(breaker, True, from_ms=now_ms, for_ms=500, every_ms=500)
        assert now_ms - tripped_ms - 500 == max(pace.dwell_after_ms(trips), pace.good_ms)
